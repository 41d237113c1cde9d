-- How many places of each package, and clients of each advertisement, stand how. Written with the rows that are counted.
-- SQLite's dialect: a row is found by its whole key, and is little else than its key.
CREATE TABLE package_tally (
    -- Empty: of all sites.
    site TEXT NOT NULL,
    package TEXT NOT NULL,
    -- library, point
    place TEXT NOT NULL,
    -- targeted, or the state of the places
    standing TEXT NOT NULL,
    source_version BIGINT NOT NULL,
    places BIGINT NOT NULL,
    PRIMARY KEY (site, package, place, standing, source_version)
) WITHOUT ROWID;
CREATE TABLE advertisement_tally (
    -- Empty: of all sites.
    site TEXT NOT NULL,
    advertisement TEXT NOT NULL,
    acceptance TEXT NOT NULL,
    delivery TEXT NOT NULL,
    clients BIGINT NOT NULL,
    PRIMARY KEY (site, advertisement, acceptance, delivery)
) WITHOUT ROWID;
