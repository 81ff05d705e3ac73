-- store/delta_job: deltas to make, being made and made; what and base are for people.
CREATE TABLE jobs (
	id BIGINT PRIMARY KEY, new BYTEA NOT NULL, old BYTEA NOT NULL,
	what TEXT NOT NULL, base TEXT NOT NULL, state TEXT NOT NULL, tries BIGINT NOT NULL,
	due BIGINT NOT NULL, reason TEXT NOT NULL, whole BIGINT NOT NULL, bytes BIGINT NOT NULL,
	created BIGINT NOT NULL, changed BIGINT NOT NULL, UNIQUE (new, old));
CREATE INDEX jobs_by_state ON jobs (state, id);
