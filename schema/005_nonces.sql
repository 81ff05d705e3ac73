-- telemetry/intake: nonces of one commit and hour in one row, 16 bytes each, so that they are appended
-- instead of dirtying a page each; expires is the end of an hour.
CREATE TABLE nonce_batches (
	expires BIGINT NOT NULL, seq BIGINT NOT NULL, nonces BYTEA NOT NULL,
	PRIMARY KEY (expires, seq)) WITHOUT ROWID;
INSERT INTO nonce_batches (expires, seq, nonces)
	SELECT (expires / 3600 + 1) * 3600, row_number() OVER (ORDER BY expires, nonce), nonce
	FROM nonces;
DROP TABLE nonces;
