-- What a bundle was made for: least-bytes, for everybody, or least-time, for children on fast lines.
ALTER TABLE bundle ADD COLUMN effort TEXT NOT NULL DEFAULT 'least-bytes';
