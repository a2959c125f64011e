-- How far the scrub has come (server/upkeep/scrub.h).
CREATE TABLE scrub (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    started INTEGER NOT NULL,  -- when the present pass began, or the last one: microseconds of the Unix epoch
    place TEXT NOT NULL        -- where it is (server/store/store_scrub.h); '': through
);
CREATE INDEX contents_damaged ON contents (sha256) WHERE damaged;
CREATE INDEX run_checkpoints_damaged ON run_checkpoints (run, step) WHERE damaged;
