-- The couriers to the neighbours, and which bundles wait for one.
CREATE TABLE courier_route (
    peer TEXT NOT NULL PRIMARY KEY,
    -- The encoded route.
    content BLOB NOT NULL
);
-- How bundles go that do not just go over the line. Of those that are delivered, or not needed, nothing is kept.
CREATE TABLE courier_choice (
    peer TEXT NOT NULL,
    item BLOB NOT NULL,
    -- line or courier
    way TEXT NOT NULL,
    -- Who asked for it; empty: nobody, Scheduler chose.
    asked_by TEXT NOT NULL,
    -- For people.
    reason TEXT NOT NULL,
    -- It has waited for a courier, and nobody came.
    missed BOOLEAN NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (peer, item)
);
