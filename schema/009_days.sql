-- telemetry/days: what cells become after a month: a row for a series and UTC day, late ones too.
-- buckets: those of its histogram, see telemetry/days.h.
CREATE TABLE cell_days (
	series BIGINT NOT NULL, at BIGINT NOT NULL,
	n BIGINT NOT NULL, k BIGINT NOT NULL, x BIGINT NOT NULL, total BIGINT NOT NULL,
	nn BIGINT NOT NULL, kk BIGINT NOT NULL, nk BIGINT NOT NULL, buckets BYTEA NOT NULL,
	PRIMARY KEY (series, at)) WITHOUT ROWID;
CREATE INDEX cell_days_by_time ON cell_days (at);
-- telemetry/history: a chart's series.
CREATE INDEX series_by_metric ON series (kind, metric, model, class);
-- Device-windows of one window are so many devices; a day keeps the most of them in x.
UPDATE cells SET x = n
	WHERE series IN (SELECT id FROM series WHERE kind = 'window' AND metric = 'window');
