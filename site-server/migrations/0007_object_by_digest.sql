-- Items on the links are named by the beginning of their digest.
CREATE INDEX object_by_digest ON object (digest);
