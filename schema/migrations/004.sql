-- Why a run failed, as a code of the error table; "" for none.
ALTER TABLE runs ADD COLUMN code TEXT NOT NULL DEFAULT '';
