-- The hashes of an arriving bundle's parts are known: its checked parts may go on to the children.
ALTER TABLE arrival ADD COLUMN outlined BOOLEAN NOT NULL DEFAULT FALSE;
