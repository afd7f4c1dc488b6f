-- Schema 1 of the database.
--
-- Serial numbers are one octet of length and the magnitude, big-endian without leading zeros, so that
-- they sort as numbers. Times are seconds since 1970-01-01T00:00:00Z. Digests have 32 octets.
-- Large columns come last: what stands before them is read without their overflow pages.

CREATE TABLE counters (
    server     TEXT PRIMARY KEY,
    request    INTEGER NOT NULL DEFAULT 0,  -- the ReqID given out last
    sequential BLOB,                        -- the sequential serial number given out last
    serial     BLOB,                        -- the serial number given out last, by either rule
    pending    INTEGER NOT NULL DEFAULT 0   -- enrollments in state pending; the triggers below keep it
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: an authority's number is not given again after its server was deleted.
CREATE TABLE authorities (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    server      TEXT NOT NULL,
    role        TEXT NOT NULL,
    token       TEXT NOT NULL,
    key_label   TEXT NOT NULL,
    retired     INTEGER NOT NULL DEFAULT 0,
    certificate BLOB NOT NULL,
    UNIQUE (server, id)
) STRICT;
CREATE UNIQUE INDEX acting ON authorities (server, role) WHERE retired = 0;

CREATE TABLE enrollments (
    server      TEXT NOT NULL,
    id          INTEGER NOT NULL,
    state       TEXT NOT NULL,
    class       TEXT NOT NULL,
    transact    BLOB NOT NULL,
    identity    BLOB NOT NULL,
    signer_key  BLOB NOT NULL,
    source      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    serial      BLOB,
    signatures  INTEGER NOT NULL,
    decryptions INTEGER NOT NULL,
    micros      INTEGER NOT NULL,
    reason      TEXT,
    subject     TEXT NOT NULL,
    csr         BLOB NOT NULL,
    CHECK (state NOT IN ('authorized', 'granted') OR serial IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX requests ON enrollments (server, id);
CREATE INDEX identities ON enrollments (server, identity, id);
CREATE INDEX transactions ON enrollments (server, signer_key, transact, id);
CREATE INDEX ages ON enrollments (server, updated);

CREATE TRIGGER pending_made AFTER INSERT ON enrollments WHEN NEW.state = 'pending' BEGIN
    UPDATE counters SET pending = pending + 1 WHERE server = NEW.server;
END;
CREATE TRIGGER pending_moved AFTER UPDATE OF state ON enrollments
WHEN (OLD.state = 'pending') <> (NEW.state = 'pending') BEGIN
    UPDATE counters SET pending = pending + iif(NEW.state = 'pending', 1, -1) WHERE server = NEW.server;
END;
CREATE TRIGGER pending_removed AFTER DELETE ON enrollments WHEN OLD.state = 'pending' BEGIN
    UPDATE counters SET pending = pending - 1 WHERE server = OLD.server;
END;

-- Every serial number ever given out: an intent has `tbs`, a certificate has `der`, one that was given
-- up has `abandoned`.
CREATE TABLE certificates (
    position   INTEGER PRIMARY KEY,         -- the order of issue
    server     TEXT NOT NULL,
    serial     BLOB NOT NULL,
    authority  INTEGER,
    enrollment INTEGER,                     -- stays when the enrollment is removed
    intended   INTEGER NOT NULL,
    abandoned  INTEGER,
    kept       INTEGER,
    revoked    INTEGER,
    reason     INTEGER,
    not_before INTEGER,
    not_after  INTEGER,
    key        BLOB,
    subject    TEXT,
    tbs        BLOB,
    der        BLOB,
    FOREIGN KEY (server, authority) REFERENCES authorities (server, id),
    CHECK ((tbs IS NOT NULL) + (der IS NOT NULL) = 1),
    CHECK ((der IS NULL) = (kept IS NULL)),
    CHECK (der IS NULL OR abandoned IS NULL),
    CHECK ((revoked IS NULL) = (reason IS NULL)),
    CHECK (revoked IS NULL OR der IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX serials ON certificates (server, serial);
CREATE INDEX issued ON certificates (server, position) WHERE kept IS NOT NULL;
CREATE INDEX unfinished ON certificates (server, position) WHERE kept IS NULL AND abandoned IS NULL;

CREATE TABLE crls (
    server      TEXT NOT NULL,
    authority   INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    der         BLOB NOT NULL,
    PRIMARY KEY (server, authority),
    FOREIGN KEY (server, authority) REFERENCES authorities (server, id)
) STRICT;

CREATE TABLE passwords (
    server  TEXT NOT NULL,
    digest  BLOB NOT NULL,
    subject TEXT,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used_by BLOB,
    PRIMARY KEY (server, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
