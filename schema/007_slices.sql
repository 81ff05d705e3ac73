-- telemetry/cells: what units said of their OS and runtime, a UTC day at a time; what: 0 os, 1 runtime.
CREATE TABLE cell_slices (
	series BIGINT NOT NULL, at BIGINT NOT NULL, what BIGINT NOT NULL, value TEXT NOT NULL,
	n BIGINT NOT NULL, k BIGINT NOT NULL, nn BIGINT NOT NULL,
	PRIMARY KEY (series, at, what, value)) WITHOUT ROWID;
CREATE INDEX cell_slices_by_time ON cell_slices (at);
