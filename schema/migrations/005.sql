-- Events stand in rows of one kind: a row has the consecutive events `first` to `last`, a line of JSON each.
CREATE TABLE run_events_by_kind (
    run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    first INTEGER NOT NULL,                -- number of the first line's event
    last INTEGER NOT NULL,
    kind TEXT NOT NULL,                    -- state, metric, log, checkpoint, end
    lines TEXT NOT NULL,
    UNIQUE (run, last)
);
-- What is there is taken apart into rows of one event, its number and kind read from the line: {"seq":7,"event":"metric",…}. A row whose lines are no JSON
-- is damaged, and left out.
INSERT OR IGNORE INTO run_events_by_kind (run, first, last, kind, lines)
    SELECT run, json_extract(line, '$.seq'), json_extract(line, '$.seq'), coalesce(json_extract(line, '$.event'), ''), line || char(10)
    FROM (SELECT e.run AS run, each.value AS line
          FROM (SELECT run, last, '[' || replace(rtrim(lines, char(10)), char(10), ',') || ']' AS list FROM run_events) AS e,
               json_each(CASE WHEN json_valid(e.list) THEN e.list ELSE '[]' END) AS each
          WHERE each.type = 'object');
DROP TABLE run_events;
ALTER TABLE run_events_by_kind RENAME TO run_events;
