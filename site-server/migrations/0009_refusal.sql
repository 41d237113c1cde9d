-- What a neighbour does not take of an object, and when it is offered again. The alarm was raised when the row came.
CREATE TABLE refusal (
    peer TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    -- The version that was refused; a newer one is offered at once.
    version BIGINT NOT NULL,
    -- How often it was refused.
    tries BIGINT NOT NULL,
    -- Not offered now.
    waits BOOLEAN NOT NULL,
    -- When it is offered again; without it, at the peer's next Hello and not before.
    retry_at BIGINT,
    PRIMARY KEY (peer, kind, id)
);
