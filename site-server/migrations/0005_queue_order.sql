-- What administrators want of single items on the links. Without a row an item is sent as it is.
CREATE TABLE queue_order (
    peer TEXT NOT NULL,
    item BYTEA NOT NULL,
    -- Not sent until it is released.
    held BOOLEAN NOT NULL,
    -- Instead of its own: high, medium, low.
    priority TEXT,
    -- Before all others of its class when smaller.
    rank BIGINT NOT NULL DEFAULT 0,
    -- ROLE NAME of whoever changed it last.
    changed_by TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (peer, item)
);
