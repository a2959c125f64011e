-- Training runs (training.md). Times are microseconds of the Unix epoch.
CREATE TABLE runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of the queue
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,                    -- as posted; a fork's with the patch applied
    program TEXT NOT NULL,                 -- hash; the program itself is kept here, too
    canonical BLOB NOT NULL,
    facts TEXT NOT NULL,                   -- JSON, members of the record that linking and the data sets gave
    link BLOB NOT NULL,                    -- what linking again needs (server/runs/run_facts.h)
    forked_from TEXT NOT NULL,             -- id, "" for none
    checksum BLOB NOT NULL,                -- BLAKE2b-128 of id, spec, program, canonical, facts, link; each but the last with its length before it
    created INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,                  -- "" for none
    started INTEGER NOT NULL,              -- 0: never
    ended INTEGER NOT NULL,
    step INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    epoch REAL NOT NULL,
    latest TEXT NOT NULL,                  -- JSON object: last value by key
    versions TEXT NOT NULL,                -- JSON object, from the worker
    attempts TEXT NOT NULL,                -- JSON, the members of an array
    events INTEGER NOT NULL                -- number of the last one
);
CREATE INDEX runs_by_state ON runs (state, seq);
CREATE INDEX runs_by_program ON runs (program, state);

-- Files DIR/runs/<id>/<step>.safetensors.
CREATE TABLE run_checkpoints (
    run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    checksum BLOB NOT NULL,                -- BLAKE2b-128 of the file
    PRIMARY KEY (run, step)
) WITHOUT ROWID;

-- Events as lines of JSON, those of one write together.
CREATE TABLE run_events (
    run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    last INTEGER NOT NULL,                 -- number of the last line's event
    lines TEXT NOT NULL,
    UNIQUE (run, last)
);

-- Metrics, at most 1024 points (series.h) a row; what is known of them stands before them, so that they need not be read.
CREATE TABLE run_points (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    key TEXT NOT NULL,
    first INTEGER NOT NULL, first_value REAL,
    last INTEGER NOT NULL, last_value REAL,
    least INTEGER NOT NULL, least_value REAL,
    most INTEGER NOT NULL, most_value REAL,
    n INTEGER NOT NULL,
    points BLOB NOT NULL,
    UNIQUE (run, key, first)
);
