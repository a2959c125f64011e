-- Every row that is served carries a checksum (server/store/store_sums.h), and so do the blocks of data sets' files.
ALTER TABLE runs ADD COLUMN head_sum BLOB NOT NULL DEFAULT x'';     -- of what never changes and `checksum` has not
ALTER TABLE runs ADD COLUMN progress_sum BLOB NOT NULL DEFAULT x''; -- of what a run's progress changes
UPDATE runs SET head_sum = blake_parts(seq, id, name, program, forked_from, created),
    progress_sum = blake_parts(seq, state, reason, started, ended, step, steps, epoch, latest, versions, attempts, events, code);

ALTER TABLE run_events ADD COLUMN checksum BLOB NOT NULL DEFAULT x'';
UPDATE run_events SET checksum = blake_parts(run, first, last, kind, lines);

-- Known to be damaged: found so by whoever looked last.
ALTER TABLE run_checkpoints ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0;

-- As before, with its sums in front of the points, so that they can be read without these.
CREATE TABLE run_points_summed (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    key TEXT NOT NULL,
    first INTEGER NOT NULL, first_value REAL,
    last INTEGER NOT NULL, last_value REAL,
    least INTEGER NOT NULL, least_value REAL,
    most INTEGER NOT NULL, most_value REAL,
    n INTEGER NOT NULL,
    points_sum BLOB NOT NULL,
    head_sum BLOB NOT NULL,            -- of all but id and points
    points BLOB NOT NULL,
    UNIQUE (run, key, first)
);
INSERT INTO run_points_summed (id, run, key, first, first_value, last, last_value, least, least_value, most, most_value, n, points_sum, head_sum, points)
    SELECT id, run, key, first, first_value, last, last_value, least, least_value, most, most_value, n, points_sum,
        blake_parts(run, key, first, first_value, last, last_value, least, least_value, most, most_value, n, points_sum), points
    FROM (SELECT *, blake(points) AS points_sum FROM run_points);
DROP TABLE run_points;
ALTER TABLE run_points_summed RENAME TO run_points;

-- What is known of a content's file, DIR/datasets/<sha256>.safetensors. Data sets of earlier versions get their row when their file has been held
-- against its name.
CREATE TABLE contents (
    sha256 TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    block INTEGER NOT NULL,            -- bytes of a block; the last one may be shorter
    sums BLOB NOT NULL,                -- BLAKE2b-128 of each block
    checksum BLOB NOT NULL,            -- blake_parts of the four before
    damaged INTEGER NOT NULL DEFAULT 0 -- found so by whoever looked last
) WITHOUT ROWID;
