-- Programs by identity (language.md §7), and their compiled graphs. Times are microseconds of the Unix epoch.
CREATE TABLE programs (
    hash TEXT PRIMARY KEY,
    canonical BLOB NOT NULL,           -- the hash is its SHA-256
    record TEXT NOT NULL,              -- api.md's record, without "cached" and the closing brace
    text TEXT NOT NULL,                -- the term as first spelled
    version TEXT NOT NULL,             -- of the compiler that made the record
    checksum BLOB NOT NULL,            -- BLAKE2b-128 of record, NUL, text
    created INTEGER NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0  -- its graphs are not evicted
) WITHOUT ROWID;
CREATE INDEX programs_by_age ON programs (created, hash);

CREATE TABLE graphs (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL REFERENCES programs (hash) ON DELETE CASCADE,
    variant TEXT NOT NULL,             -- arguments and derivative, "*/none", "1/vjp"
    version TEXT NOT NULL,
    blob BLOB NOT NULL,
    checksum BLOB NOT NULL,            -- BLAKE2b-128 of the blob
    bytes INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    UNIQUE (hash, variant)
);
CREATE INDEX graphs_by_use ON graphs (last_used);
