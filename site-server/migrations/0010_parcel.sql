-- Parcels on media, going out and coming in. What is in one that goes out lies in courier/outgoing.
CREATE TABLE parcel (
    id BLOB NOT NULL PRIMARY KEY,
    -- The site that made it.
    sender TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    carrier TEXT NOT NULL,
    tracking TEXT NOT NULL,
    -- 0: not yet, or nobody knows.
    sent_at BIGINT NOT NULL,
    expected_at BIGINT NOT NULL,
    volumes BIGINT NOT NULL,
    -- The line brings none of its bundles meanwhile.
    holds_line BOOLEAN NOT NULL
);
-- How far it is with each destination. Of one that came in only this site.
CREATE TABLE parcel_site (
    parcel BLOB NOT NULL,
    site TEXT NOT NULL,
    state TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (parcel, site)
);
-- The items that a destination has taken.
CREATE TABLE parcel_taken (
    parcel BLOB NOT NULL,
    site TEXT NOT NULL,
    item BLOB NOT NULL,
    PRIMARY KEY (parcel, site, item)
);
-- What parcels for a neighbour are encrypted to.
CREATE TABLE courier_key (
    site TEXT NOT NULL PRIMARY KEY,
    recipient TEXT NOT NULL,
    -- When it was told: an older word changes nothing.
    told_at BIGINT NOT NULL
);
