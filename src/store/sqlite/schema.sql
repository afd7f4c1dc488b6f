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
    revision   INTEGER NOT NULL DEFAULT 0,  -- counts revocations and what was taken back of them
    pending    INTEGER NOT NULL DEFAULT 0   -- enrollments in state pending; the triggers below keep it
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: an authority's number is not given again after its server was deleted.
CREATE TABLE authorities (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    server      TEXT NOT NULL,
    role        TEXT NOT NULL,
    token       TEXT NOT NULL,
    key_label   TEXT NOT NULL,
    phase       TEXT NOT NULL,
    adopted     BLOB,                       -- the serial number given out last before it was taken over
    certificate BLOB NOT NULL,
    UNIQUE (server, id)
) STRICT;
CREATE UNIQUE INDEX acting ON authorities (server, role) WHERE phase = 'active';
CREATE UNIQUE INDEX coming ON authorities (server, role) WHERE phase = 'next';

CREATE TABLE enrollments (
    server      TEXT NOT NULL,
    id          INTEGER NOT NULL,
    state       TEXT NOT NULL,
    class       TEXT NOT NULL,
    authority   INTEGER,                    -- that is to sign; whichever acts then when NULL
    transact    BLOB NOT NULL,
    identity    BLOB NOT NULL,
    signer_key  BLOB NOT NULL,
    source      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    serial      BLOB,
    upper       BLOB NOT NULL DEFAULT x'',  -- of its certificate, as there
    signatures  INTEGER NOT NULL,
    decryptions INTEGER NOT NULL,
    micros      INTEGER NOT NULL,
    reason      TEXT,
    subject     TEXT NOT NULL,
    csr         BLOB NOT NULL,
    -- Authorized without one are those that another CA issues: see forwards.
    CHECK (state <> 'granted' OR serial IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX requests ON enrollments (server, id);
CREATE INDEX identities ON enrollments (server, identity, id);
CREATE INDEX transactions ON enrollments (server, signer_key, transact, id);
CREATE INDEX ages ON enrollments (server, updated);
CREATE INDEX malformed ON enrollments (server, id) WHERE state = 'malformed';

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

-- Authorized enrollments that another CA issues: what an RA has granted.
CREATE TABLE forwards (
    server     TEXT NOT NULL,
    enrollment INTEGER NOT NULL,
    stage      TEXT NOT NULL,
    tries      INTEGER NOT NULL,            -- since it came to this stage
    next_try   INTEGER NOT NULL,
    error      TEXT,
    PRIMARY KEY (server, enrollment)
) STRICT, WITHOUT ROWID;
CREATE INDEX due ON forwards (server, next_try);

-- Every serial number ever given out here: an intent has `tbs`, a certificate has `der`, one that was
-- given up has `abandoned`. Of an adopted CA also those given out before of which something is known:
-- they have `adopted`, and `der` when they are known whole.
CREATE TABLE certificates (
    position   INTEGER PRIMARY KEY,         -- the order of issue
    server     TEXT NOT NULL,
    serial     BLOB NOT NULL,
    authority  INTEGER,
    upper      BLOB NOT NULL DEFAULT x'',   -- SHA-256 of the key of the other CA that has issued it, which numbers
                                            -- as it likes; empty for those that are issued here
    enrollment INTEGER,                     -- stays when the enrollment is removed
    class      TEXT,                        -- of that enrollment
    intended   INTEGER,
    adopted    INTEGER,
    abandoned  INTEGER,
    kept       INTEGER,
    kept_order INTEGER,                     -- the order in which certificates were kept, from 1
    revoked    INTEGER,
    reason     INTEGER,
    revision   INTEGER,                     -- of the revocation, see counters
    not_before INTEGER,
    not_after  INTEGER,
    key        BLOB,
    subject    TEXT,
    tbs        BLOB,
    der        BLOB,
    FOREIGN KEY (server, authority) REFERENCES authorities (server, id),
    CHECK ((intended IS NULL) <> (adopted IS NULL)),
    CHECK (tbs IS NULL OR der IS NULL),
    CHECK (tbs IS NOT NULL OR der IS NOT NULL OR adopted IS NOT NULL),
    CHECK ((der IS NULL) = (kept IS NULL)),
    CHECK (der IS NULL OR abandoned IS NULL),
    CHECK (der IS NULL OR (not_before IS NOT NULL AND not_after IS NOT NULL AND key IS NOT NULL
                           AND subject IS NOT NULL)),
    CHECK ((revoked IS NULL) = (reason IS NULL) AND (revoked IS NULL) = (revision IS NULL)),
    CHECK (revoked IS NULL OR tbs IS NULL)
) STRICT;
CREATE UNIQUE INDEX serials ON certificates (server, serial, upper);
CREATE INDEX issued ON certificates (server, position) WHERE kept IS NOT NULL;
CREATE UNIQUE INDEX kept_orders ON certificates (server, kept_order) WHERE kept_order IS NOT NULL;
CREATE INDEX issuers ON certificates (server, authority, not_after) WHERE kept IS NOT NULL;
CREATE INDEX unfinished ON certificates (server, position) WHERE tbs IS NOT NULL AND abandoned IS NULL;
-- With all that a CRL says, so that a long one is made without a look at the certificates.
CREATE INDEX revocations ON certificates (server, authority, serial, revoked, reason, not_after, revision)
    WHERE revoked IS NOT NULL;

CREATE TABLE crls (
    server      TEXT NOT NULL,
    authority   INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    revision    INTEGER NOT NULL,           -- how far it takes account of revocations, see counters
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

-- Certificates of trustpoints, beside those under which a server acts.
CREATE TABLE trusted (
    trustpoint TEXT NOT NULL,
    kind       TEXT NOT NULL,
    serial     BLOB NOT NULL,
    token      TEXT,
    key_label  TEXT,
    der        BLOB NOT NULL,
    -- CAs above each other may have the same serial number.
    PRIMARY KEY (trustpoint, kind, serial, der)
) STRICT, WITHOUT ROWID;

-- Requests of trustpoints to their CAs: under way, or failed.
CREATE TABLE upper_requests (
    trustpoint   TEXT NOT NULL,
    kind         TEXT NOT NULL,              -- what will become of the certificate, as in trusted
    phase        TEXT NOT NULL,
    token        TEXT NOT NULL,
    key_label    TEXT NOT NULL,
    new_key      INTEGER NOT NULL,
    signer_token TEXT,
    signer_label TEXT,
    tries        INTEGER NOT NULL,
    failures     INTEGER NOT NULL,
    began        INTEGER NOT NULL,
    next_try     INTEGER NOT NULL,
    error        TEXT,
    transact     BLOB NOT NULL,
    signer       BLOB NOT NULL,
    csr          BLOB NOT NULL,
    PRIMARY KEY (trustpoint, kind),
    CHECK ((signer_token IS NULL) = (signer_label IS NULL))
) STRICT, WITHOUT ROWID;

-- CRLs of other CAs, the newest of each key; dropped when they have ended.
CREATE TABLE fetched_crls (
    issuer_key  BLOB PRIMARY KEY,           -- SHA-256 of the SubjectPublicKeyInfo
    issuer      TEXT NOT NULL,
    source      TEXT NOT NULL,
    fetched     INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    der         BLOB NOT NULL
) STRICT;

CREATE TABLE journal (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    uid     INTEGER,
    user    TEXT NOT NULL,
    command TEXT NOT NULL,
    outcome TEXT NOT NULL
) STRICT;

-- Small facts that outlive a process: how far something has come, when something was made.
CREATE TABLE marks (
    scope TEXT NOT NULL,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

-- One row: the latest time that the clock has ever shown.
CREATE TABLE clock (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    latest INTEGER NOT NULL
) STRICT;
