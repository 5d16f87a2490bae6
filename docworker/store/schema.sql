-- The catalog: what is known about each URL, and the proof that a page is indexed. Times are epoch milliseconds.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE docsets (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    named         INTEGER NOT NULL,             -- 1: the user gave the name
    base_url      TEXT NOT NULL,
    seed_url      TEXT NOT NULL,
    origin        TEXT NOT NULL,
    allowed_paths TEXT NOT NULL,                -- JSON array
    max_pages     INTEGER,                      -- null: as the settings say
    state         TEXT NOT NULL,
    message       TEXT,                         -- why it failed, or which limit it reached
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    crawled_at    INTEGER                       -- when a crawl last came to its end
) STRICT, WITHOUT ROWID;
CREATE INDEX docsets_by_origin ON docsets (origin);

-- The frontier is the pages that are `pending`, nearest first, and those `fetching` whose lease has run out.
CREATE TABLE pages (
    seq             INTEGER PRIMARY KEY,        -- order of discovery
    id              TEXT NOT NULL UNIQUE,
    docset_id       TEXT NOT NULL REFERENCES docsets (id) ON DELETE CASCADE,
    url             TEXT NOT NULL,              -- canonical
    depth           INTEGER NOT NULL,           -- links from the seed
    discovered_from TEXT,
    state           TEXT NOT NULL,
    message         TEXT,                       -- why it is skipped or failed
    lease_until     INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0,
    title           TEXT,
    content_hash    TEXT,
    etag            TEXT,
    last_modified   TEXT,
    document        BLOB,                       -- the extracted Document, compressed: what the shelf is rebuilt from
    fetched_at      INTEGER,
    indexed_at      INTEGER
) STRICT;
CREATE UNIQUE INDEX pages_by_url ON pages (docset_id, url);
CREATE INDEX pages_by_state ON pages (docset_id, state, depth, seq);

-- URLs that turned out to be another page's: known, never asked again, never a page.
CREATE TABLE aliases (
    docset_id TEXT NOT NULL REFERENCES docsets (id) ON DELETE CASCADE,
    url       TEXT NOT NULL,
    target    TEXT NOT NULL,
    PRIMARY KEY (docset_id, url)
) STRICT, WITHOUT ROWID;

CREATE TABLE links (
    page_id TEXT NOT NULL REFERENCES pages (id) ON DELETE CASCADE,
    target  TEXT NOT NULL,                      -- canonical, in scope
    PRIMARY KEY (page_id, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE chunks (
    seq       INTEGER PRIMARY KEY,              -- the order in which they are embedded
    id        TEXT NOT NULL UNIQUE,
    page_id   TEXT NOT NULL REFERENCES pages (id) ON DELETE CASCADE,
    docset_id TEXT NOT NULL,
    ordinal   INTEGER NOT NULL,
    text_hash TEXT NOT NULL,                    -- of what is embedded
    embedded  INTEGER NOT NULL                  -- 1: its vector is on the shelf
) STRICT;
CREATE INDEX chunks_by_page ON chunks (page_id, ordinal);
CREATE INDEX chunks_by_docset ON chunks (docset_id, embedded);
CREATE INDEX chunks_by_text ON chunks (text_hash);
CREATE INDEX chunks_waiting ON chunks (docset_id, seq) WHERE embedded = 0;

-- Vectors by model and text, so that a text is embedded once. Little-endian float32.
CREATE TABLE vectors (
    model     TEXT NOT NULL,
    text_hash TEXT NOT NULL,
    vector    BLOB NOT NULL,                    -- too large for WITHOUT ROWID: 96 MB instead of 41 for 20,000
    PRIMARY KEY (model, text_hash)
) STRICT;
