-- Status messages as they are looked for: one row for each event object, written with it. SQLite's dialect: partial
-- indexes.
CREATE TABLE event (
    -- Grows with each that comes or is counted anew: whoever follows goes on after the last one that he has seen.
    arrival BIGINT NOT NULL PRIMARY KEY,
    -- The object's.
    id TEXT NOT NULL UNIQUE,
    site TEXT NOT NULL,
    at BIGINT NOT NULL,
    component TEXT NOT NULL,
    -- 0 info, 1 warning, 2 error
    severity BIGINT NOT NULL,
    -- milestone, detail, audit
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Its number in the catalogue.
    message BIGINT NOT NULL,
    -- Forgotten after this.
    expires_at BIGINT NOT NULL,
    -- How it goes to the parent: no, high, medium, low.
    forward TEXT NOT NULL
);
CREATE INDEX event_by_time ON event (at);
CREATE INDEX event_by_site ON event (site, at);
CREATE INDEX event_by_component ON event (component, at);
CREATE INDEX event_by_subject ON event (subject, at);
CREATE INDEX event_by_message ON event (message, at);
CREATE INDEX event_that_is_bad ON event (at) WHERE severity > 0;
CREATE INDEX event_that_hurries ON event (id) WHERE forward IN ('high', 'medium');
CREATE INDEX event_by_expiry ON event (expires_at);
-- What becomes of messages at this site, in this order.
CREATE TABLE event_rule (
    position BIGINT NOT NULL PRIMARY KEY,
    -- The encoded rule.
    content BLOB NOT NULL
);
