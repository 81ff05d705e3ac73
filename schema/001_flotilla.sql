-- Times are UTC seconds of the server's own clock; digests are 32 bytes; JSON is opaque text.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);

-- store/blob: what is in the content-addressed store.
CREATE TABLE packs (
	pack BYTEA PRIMARY KEY, bytes BIGINT NOT NULL, created BIGINT NOT NULL);
CREATE TABLE chunks (
	chunk BYTEA PRIMARY KEY, pack BYTEA NOT NULL, at BIGINT NOT NULL, stored BIGINT NOT NULL,
	raw BIGINT NOT NULL, codec BIGINT NOT NULL, type BIGINT NOT NULL);
CREATE INDEX chunks_by_pack ON chunks (pack);
CREATE TABLE recipes (
	recipe BYTEA PRIMARY KEY, sha256 BYTEA NOT NULL, length BIGINT NOT NULL,
	stored BIGINT NOT NULL, format TEXT NOT NULL, created BIGINT NOT NULL);
CREATE INDEX recipes_by_file ON recipes (sha256);
CREATE TABLE uploads (
	id TEXT PRIMARY KEY, token TEXT NOT NULL, name TEXT, length BIGINT, sha256 BYTEA,
	state TEXT NOT NULL, recipe BYTEA, created BIGINT NOT NULL, expires BIGINT NOT NULL);

-- manifest/catalog: what may be offered.
CREATE TABLE models (name TEXT PRIMARY KEY, created BIGINT NOT NULL);
CREATE TABLE releases (
	model TEXT NOT NULL, release TEXT NOT NULL, state TEXT NOT NULL, checkpoint TEXT,
	notes TEXT, created BIGINT NOT NULL, published BIGINT, PRIMARY KEY (model, release));
CREATE TABLE variants (
	model TEXT NOT NULL, release TEXT NOT NULL, tier TEXT NOT NULL, format TEXT NOT NULL,
	requires TEXT NOT NULL, evals TEXT NOT NULL, attest BYTEA, created BIGINT NOT NULL,
	PRIMARY KEY (model, release, tier));
CREATE TABLE files (
	model TEXT NOT NULL, release TEXT NOT NULL, tier TEXT NOT NULL, name TEXT NOT NULL,
	length BIGINT NOT NULL, sha256 BYTEA NOT NULL, recipe BYTEA NOT NULL,
	stored BIGINT NOT NULL, PRIMARY KEY (model, release, tier, name));
CREATE INDEX files_by_recipe ON files (recipe);
CREATE TABLE channels (name TEXT PRIMARY KEY, created BIGINT NOT NULL);
CREATE TABLE class_rules (
	version BIGINT PRIMARY KEY, doc TEXT NOT NULL, actor TEXT NOT NULL,
	created BIGINT NOT NULL);
CREATE TABLE classes (
	name TEXT PRIMARY KEY, settings TEXT NOT NULL, version BIGINT NOT NULL,
	created BIGINT NOT NULL, removed BIGINT);

-- manifest/offer: what a (channel, class, model) runs now, and what it is trying.
CREATE TABLE offers (
	channel TEXT NOT NULL, class TEXT NOT NULL, model TEXT NOT NULL,
	stable TEXT, previous TEXT, stable_since BIGINT NOT NULL,
	spread_s BIGINT NOT NULL, spread_salt TEXT NOT NULL,
	rollout TEXT, candidate TEXT, salt TEXT, stage BIGINT, state TEXT, candidate_ppm BIGINT,
	enter_lo BIGINT, enter_hi BIGINT, control_lo BIGINT, control_hi BIGINT,
	version BIGINT NOT NULL, PRIMARY KEY (channel, class, model));

-- manifest/publish: signed documents, newest and the last week's.
CREATE TABLE repos (
	repo TEXT PRIMARY KEY, channel TEXT, class TEXT, root BIGINT NOT NULL,
	targets BIGINT NOT NULL, snapshot BIGINT NOT NULL, timestamp BIGINT NOT NULL,
	content BYTEA NOT NULL, resign_targets BIGINT NOT NULL, resign_timestamp BIGINT NOT NULL,
	removed BIGINT);
CREATE TABLE documents (
	repo TEXT NOT NULL, role TEXT NOT NULL, version BIGINT NOT NULL, path TEXT NOT NULL,
	bytes BYTEA NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL,
	PRIMARY KEY (repo, role, version));

-- manifest/journal: what happened, and who did it (hash-chained).
CREATE TABLE events (
	seq BIGINT PRIMARY KEY, t BIGINT NOT NULL, kind TEXT NOT NULL, rollout TEXT, class TEXT,
	actor TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX events_by_rollout ON events (rollout, seq);
CREATE TABLE audit (
	seq BIGINT PRIMARY KEY, t BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
	resource TEXT NOT NULL, request TEXT NOT NULL, data TEXT NOT NULL,
	prev BYTEA NOT NULL, hash BYTEA NOT NULL);

-- telemetry: merged counts only; nonces live as long as their window can be accepted.
-- WITHOUT ROWID: one tree to write instead of two; PostgreSQL's version leaves it out.
CREATE TABLE nonces (expires BIGINT NOT NULL, nonce BYTEA NOT NULL, PRIMARY KEY (expires, nonce))
	WITHOUT ROWID;
CREATE TABLE series (
	id BIGINT PRIMARY KEY, channel TEXT NOT NULL, class TEXT NOT NULL, model TEXT NOT NULL,
	rollout TEXT NOT NULL, stage BIGINT NOT NULL, arm TEXT NOT NULL, variant TEXT NOT NULL,
	kind TEXT NOT NULL, metric TEXT NOT NULL,
	UNIQUE (rollout, class, stage, arm, channel, model, variant, kind, metric));
-- What the columns count, kind by kind: telemetry/cells.h.
CREATE TABLE cells (
	at BIGINT NOT NULL, series BIGINT NOT NULL, late BIGINT NOT NULL,
	n BIGINT NOT NULL, k BIGINT NOT NULL, x BIGINT NOT NULL, total BIGINT NOT NULL,
	nn BIGINT NOT NULL, kk BIGINT NOT NULL, nk BIGINT NOT NULL,
	PRIMARY KEY (at, series, late)) WITHOUT ROWID;
CREATE INDEX cells_by_series ON cells (series, at);
CREATE TABLE cell_buckets (
	at BIGINT NOT NULL, series BIGINT NOT NULL, late BIGINT NOT NULL, bucket BIGINT NOT NULL,
	n BIGINT NOT NULL, PRIMARY KEY (at, series, late, bucket)) WITHOUT ROWID;
CREATE INDEX cell_buckets_by_series ON cell_buckets (series, at);

-- rollout/lane
CREATE TABLE rollouts (
	id TEXT PRIMARY KEY, model TEXT NOT NULL, release TEXT NOT NULL, channel TEXT NOT NULL,
	state TEXT NOT NULL, spec TEXT NOT NULL, actor TEXT NOT NULL, created BIGINT NOT NULL,
	version BIGINT NOT NULL);
CREATE TABLE lanes (
	rollout TEXT NOT NULL, class TEXT NOT NULL, channel TEXT NOT NULL, model TEXT NOT NULL,
	release TEXT NOT NULL, state TEXT NOT NULL, stage BIGINT NOT NULL, since BIGINT NOT NULL,
	started BIGINT NOT NULL, reason TEXT, stable TEXT NOT NULL, salt TEXT NOT NULL,
	baseline TEXT NOT NULL, class_settings TEXT NOT NULL,
	closed_slot BIGINT NOT NULL, closed_window BIGINT NOT NULL, closed_summary BIGINT NOT NULL,
	closed_missing BIGINT NOT NULL, version BIGINT NOT NULL, PRIMARY KEY (rollout, class));
CREATE INDEX lanes_by_state ON lanes (state);

-- server/auth
CREATE TABLE tokens (
	id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BYTEA NOT NULL UNIQUE, role TEXT NOT NULL,
	models TEXT, created BIGINT NOT NULL, expires BIGINT, revoked BIGINT);
CREATE TABLE idempotency (
	token TEXT NOT NULL, key TEXT NOT NULL, fingerprint BYTEA NOT NULL, code BIGINT NOT NULL,
	body TEXT NOT NULL, expires BIGINT NOT NULL, PRIMARY KEY (token, key));
