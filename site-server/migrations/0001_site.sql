-- The site database. One text for SQLite and PostgreSQL: times are microseconds since the epoch, digests are bytes,
-- kinds and states are the words of the domain.

-- Facts about this site: its code, its path, the epoch of its database.
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Sequences, each a row, so that a number is given in the transaction that uses it.
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

-- One row per topic; a trigger raises it whenever a row of that topic changes, whoever changed it.
CREATE TABLE change_log (
    topic TEXT PRIMARY KEY,
    version BIGINT NOT NULL
);

-- Every replicated object that this site holds.
CREATE TABLE object (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    version BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    -- The object's own body, encoded.
    body BYTEA NOT NULL,
    -- What is sent on: for an object that goes down the signed envelope, for one that goes up the encoded object.
    content BYTEA NOT NULL,
    -- BLAKE3 of `content`.
    digest BYTEA NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);

-- The parent and the children.
CREATE TABLE neighbour (
    code TEXT PRIMARY KEY,
    -- parent, child
    relation TEXT NOT NULL,
    -- The peer's database: when it changes, what it acknowledged before counts no more.
    epoch BYTEA NOT NULL,
    seen_at BIGINT NOT NULL
);

-- The version of each object that a neighbour has acknowledged.
CREATE TABLE replica (
    peer TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (peer, kind, id)
);

-- One-time tokens, by the hash of their secret.
CREATE TABLE token (
    secret_hash BYTEA PRIMARY KEY,
    role TEXT NOT NULL,
    -- The id that the certificate will carry.
    name TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- The hash of the key that used it; that key alone may use it again.
    used_by BYTEA
);

-- Signed delegations: those of this site's own chain, and those to its children.
CREATE TABLE delegation (
    site TEXT PRIMARY KEY,
    content BYTEA NOT NULL
);

-- Where the source of a package owned by this site lies.
CREATE TABLE package_source (
    package TEXT PRIMARY KEY,
    directory TEXT NOT NULL
);

-- Versions whose content this site's library holds whole.
CREATE TABLE content (
    package TEXT NOT NULL,
    manifest BYTEA NOT NULL,
    source_version BIGINT NOT NULL,
    held_at BIGINT NOT NULL,
    PRIMARY KEY (package, manifest)
);

-- Bundles in the spool, made here or received, ready to be sent.
CREATE TABLE bundle (
    digest BYTEA PRIMARY KEY,
    package TEXT NOT NULL,
    source_version BIGINT NOT NULL,
    target BYTEA NOT NULL,
    -- The manifests it builds on, one after the other.
    bases BYTEA NOT NULL,
    length BIGINT NOT NULL,
    made_at BIGINT NOT NULL
);

-- Mini-jobs for bundles: a bundle that a child is to get.
CREATE TABLE sending (
    peer TEXT NOT NULL,
    digest BYTEA NOT NULL,
    -- queued, done, failed, base-missing
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    retry_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (peer, digest)
);

-- Bundles that arrive: Receiver writes them to the spool, Despooler takes them from there.
CREATE TABLE arrival (
    item BYTEA PRIMARY KEY,
    peer TEXT NOT NULL,
    package TEXT NOT NULL,
    target BYTEA NOT NULL,
    bases BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    length BIGINT NOT NULL,
    priority TEXT NOT NULL,
    -- receiving, complete, failed, base-missing
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    changed_at BIGINT NOT NULL
);

-- This site's distribution points.
CREATE TABLE point (
    name TEXT PRIMARY KEY,
    -- agent, directory
    kind TEXT NOT NULL,
    -- A directory's path; an agent's endpoints, one per line.
    location TEXT NOT NULL
);

-- This site's CAP agents.
CREATE TABLE cap (
    name TEXT PRIMARY KEY,
    cursor BIGINT NOT NULL,
    endpoints TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- The instruction files, in the order of their last change.
CREATE TABLE cap_file (
    name TEXT PRIMARY KEY,
    sequence BIGINT NOT NULL,
    content BYTEA NOT NULL,
    deleted BOOLEAN NOT NULL,
    -- The one CAP that reads it; empty: all.
    audience TEXT NOT NULL
);
CREATE INDEX cap_file_by_sequence ON cap_file (sequence);

-- This site's clients.
CREATE TABLE client (
    id TEXT PRIMARY KEY,
    cap TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- Members of collections among this site's clients.
CREATE TABLE membership (
    collection TEXT NOT NULL,
    client TEXT NOT NULL,
    PRIMARY KEY (collection, client)
);

-- Advertisements that are not offered at this site, and why.
CREATE TABLE held_back (
    advertisement TEXT PRIMARY KEY,
    reason TEXT NOT NULL
);

-- The instruction that each client has.
CREATE TABLE instruction (
    client TEXT PRIMARY KEY,
    serial BIGINT NOT NULL,
    -- BLAKE3 of the list of files.
    files BYTEA NOT NULL,
    not_after BIGINT NOT NULL
);
