-- The lines to the neighbours, and what went over each.

CREATE TABLE address (
    peer TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The encoded address, with all its limits.
    content BYTEA NOT NULL,
    PRIMARY KEY (peer, name)
);

-- Bytes that budgets count. They outlive their address, so that making it anew makes no new budget.
CREATE TABLE line_use (
    peer TEXT NOT NULL,
    -- The address's; `main` for a neighbour that has none.
    name TEXT NOT NULL,
    -- YYYY-MM-DD in the address's time zone.
    day TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (peer, name, day)
);
