-- server/auth: what a token may bring. NULL: no bound.
ALTER TABLE tokens ADD COLUMN quota_bytes BIGINT;
ALTER TABLE tokens ADD COLUMN uploads BIGINT;
-- store/upload: bytes that are durable, and count against the quota while the upload is open.
ALTER TABLE uploads ADD COLUMN received BIGINT NOT NULL DEFAULT 0;
-- manifest/catalog: what the file says of itself, for people: architecture, quantization, ...
ALTER TABLE variants ADD COLUMN meta TEXT NOT NULL DEFAULT '{}';
-- store/taken: what each token brought lately. what: 0 a pack, 1 a recipe.
CREATE TABLE taken (
	token TEXT NOT NULL, digest BYTEA NOT NULL, what BIGINT NOT NULL, bytes BIGINT NOT NULL,
	at BIGINT NOT NULL, PRIMARY KEY (token, digest));
CREATE INDEX taken_by_time ON taken (at);
