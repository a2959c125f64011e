-- What is known of a key's metrics besides its points: only one of `stride` is kept (server/store/store_points.h).
CREATE TABLE run_series (
    run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    key TEXT NOT NULL,
    stride INTEGER NOT NULL,
    n INTEGER NOT NULL,                    -- points in run_points
    bucket BLOB NOT NULL,                  -- of those that have come since (series.h), empty: none
    checksum BLOB NOT NULL,                -- blake_parts of all before
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
INSERT INTO run_series (run, key, stride, n, bucket, checksum)
    SELECT run, key, 1, sum(n), x'', blake_parts(run, key, 1, sum(n), x'') FROM run_points GROUP BY run, key;
-- What a run's events take.
ALTER TABLE runs ADD COLUMN event_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN event_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET (event_rows, event_bytes) =
    (SELECT count(*), coalesce(sum(length(CAST(e.lines AS BLOB))), 0) FROM run_events AS e WHERE e.run = runs.seq);
