-- manifest/publisher_store: who may publish, what was signed, what is taken back.
CREATE TABLE publishers (
	name TEXT PRIMARY KEY, key BYTEA NOT NULL UNIQUE, models TEXT NOT NULL,
	created BIGINT NOT NULL);
CREATE TABLE publisher_floors (model TEXT PRIMARY KEY, floor BIGINT NOT NULL);
-- digest: a file's SHA-256, or a publisher's key id.
CREATE TABLE revocations (
	digest BYTEA PRIMARY KEY, what TEXT NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL,
	created BIGINT NOT NULL);
ALTER TABLE variants ADD COLUMN envelope BYTEA;
ALTER TABLE variants ADD COLUMN counter BIGINT;
ALTER TABLE variants ADD COLUMN floor BIGINT;
ALTER TABLE variants ADD COLUMN publisher TEXT;
-- Which online seed signs the repository (the id of that seed's rules key; NULL: the first one), and
-- how the index names its first root.
ALTER TABLE repos ADD COLUMN seed BYTEA;
ALTER TABLE repos ADD COLUMN first_root BYTEA;
