-- telemetry/nonces: the newest nonces are rows of a commit each; a third of a million of them are closed
-- into a segment: pages in the order of their hashes, so that one is found by one row, and a filter
-- that tells which need not be looked for.  expires: when the last of them may be forgotten.
CREATE TABLE nonce_rows (
	seq BIGINT PRIMARY KEY, expires BIGINT NOT NULL, nonces BYTEA NOT NULL);
INSERT INTO nonce_rows (seq, expires, nonces)
	SELECT row_number() OVER (ORDER BY expires, seq), expires, nonces FROM nonce_batches;
DROP TABLE nonce_batches;
CREATE TABLE nonce_segments (
	id BIGINT PRIMARY KEY, expires BIGINT NOT NULL, count BIGINT NOT NULL, filter BYTEA NOT NULL);
CREATE TABLE nonce_pages (
	segment BIGINT NOT NULL, page BIGINT NOT NULL, nonces BYTEA NOT NULL,
	PRIMARY KEY (segment, page)) WITHOUT ROWID;
