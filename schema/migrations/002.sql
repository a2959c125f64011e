-- Data sets by name. Their contents are files, DIR/datasets/<sha256>.safetensors; several names may share one.
CREATE TABLE datasets (
    name TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,              -- of the file, lower-case hex
    record TEXT NOT NULL,              -- api.md's record
    checksum BLOB NOT NULL,            -- BLAKE2b-128 of name, NUL, sha256, NUL, record
    created INTEGER NOT NULL           -- when this content was put under this name
) WITHOUT ROWID;
CREATE INDEX datasets_by_age ON datasets (created, name);
CREATE INDEX datasets_by_content ON datasets (sha256);

-- The data that a run names. As long as a row is there its content is kept; while it is held (the run is queued or running) a data set that
-- has this content is neither replaced nor deleted. Added in the transaction that checks that the data set still has this content.
CREATE TABLE run_data (
    run TEXT NOT NULL,
    dataset TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    held INTEGER NOT NULL,
    PRIMARY KEY (run, dataset)
) WITHOUT ROWID;
CREATE INDEX run_data_by_dataset ON run_data (dataset) WHERE held;
CREATE INDEX run_data_by_content ON run_data (sha256);
