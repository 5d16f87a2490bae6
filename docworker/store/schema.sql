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
    include       TEXT NOT NULL,                -- JSON array of patterns
    exclude       TEXT NOT NULL,                -- JSON array of patterns
    language      TEXT,                         -- of the seed page
    sitemaps_read INTEGER NOT NULL DEFAULT 0,
    inventory     TEXT,                         -- where the site lists its names
    inventory_hash TEXT,                        -- of that list when it was read; '' when it could not be; null: not asked
    state         TEXT NOT NULL,
    message       TEXT,                         -- why it failed, or which limit it reached
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    crawled_at    INTEGER,                      -- when all of it was last crawled
    refreshed     TEXT                          -- what the last refresh came to, as JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX docsets_by_origin ON docsets (origin);

-- How a docset's site may be asked. Only in the catalog that is served, and told to nobody.
CREATE TABLE access (
    docset_id TEXT PRIMARY KEY REFERENCES docsets (id) ON DELETE CASCADE,
    inside    INTEGER NOT NULL,                 -- 1: its host's name led to a private address when the user gave its seed
    headers   TEXT NOT NULL                     -- JSON object: request headers that the user gave, for its origin alone
) STRICT, WITHOUT ROWID;

-- Every URL that was found, each once. The frontier is the pages that are `pending`, in the order of turn, depth and place,
-- and those `fetching` whose lease has run out. Besides the states of the contract there is `alias`: the URL turned out to be
-- another page's (`target`), and is none itself.
CREATE TABLE pages (
    seq             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    docset_id       TEXT NOT NULL REFERENCES docsets (id) ON DELETE CASCADE,
    url             TEXT NOT NULL,              -- canonical
    turn            INTEGER NOT NULL,           -- see docworker.model.Turn
    depth           INTEGER NOT NULL,           -- links from the seed, or from the sitemap
    place           INTEGER NOT NULL,           -- order of discovery; what a page redirects to takes its place
    hops            INTEGER NOT NULL,           -- redirects that led here
    discovered_from TEXT,                       -- the page or sitemap that named it first
    state           TEXT NOT NULL,
    reason          TEXT,                       -- see docworker.model.Reason; how, of an alias
    message         TEXT,                       -- why it is skipped or failed
    target          TEXT,                       -- of an alias
    lease_until     INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0, -- how often it was claimed
    requests        INTEGER NOT NULL DEFAULT 0, -- how often the site was asked
    http_status     INTEGER,                    -- of the last answer
    size            INTEGER NOT NULL DEFAULT 0, -- bytes received for it
    title           TEXT,
    read_as         TEXT,                       -- the profile that read it
    content_hash    TEXT,
    main_hash       TEXT,                       -- the same for pages of the same text
    canonical       TEXT,                       -- the page of this docset that it says it is a copy of
    etag            TEXT,                       -- with the next three, by what a refresh knows that nothing has changed
    last_modified   TEXT,
    body_hash       TEXT,
    rules           TEXT,                       -- hash of the docset's patterns and the like, as it was read by
    extractor       INTEGER NOT NULL DEFAULT 0, -- version that read it
    chunker         INTEGER NOT NULL DEFAULT 0, -- version that cut it
    kept            INTEGER NOT NULL DEFAULT 0, -- 1, in the catalog of a refresh: its text is as it was, and stands in the other
    document        BLOB,                       -- the extracted Document, compressed: what the shelf is rebuilt from
    links           BLOB,                       -- canonical URLs in scope that it leads to, in page order, compressed
    links_dropped   INTEGER NOT NULL DEFAULT 0, -- links over the limit of one page
    followed        INTEGER NOT NULL DEFAULT 0, -- 1: all that it leads to is in this table; 2: as far as there was room
    fetched_at      INTEGER,
    indexed_at      INTEGER
) STRICT;
CREATE UNIQUE INDEX pages_by_url ON pages (docset_id, url);
CREATE INDEX pages_by_state ON pages (docset_id, state, turn, depth, place, seq);
CREATE INDEX pages_by_main ON pages (docset_id, main_hash) WHERE state = 'indexed';
CREATE INDEX pages_by_canonical ON pages (docset_id, canonical) WHERE canonical IS NOT NULL;
CREATE INDEX pages_by_target ON pages (docset_id, target) WHERE target IS NOT NULL;
CREATE INDEX pages_by_place ON pages (docset_id, place);
CREATE INDEX pages_to_follow ON pages (docset_id, followed, depth, place, seq);

-- A hash of every longer section of every indexed page: tells a page that holds the text of many others.
CREATE TABLE passages (
    docset_id TEXT NOT NULL,
    hash      INTEGER NOT NULL,
    page_seq  INTEGER NOT NULL REFERENCES pages (seq) ON DELETE CASCADE,
    PRIMARY KEY (docset_id, hash, page_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX passages_by_page ON passages (page_seq);

-- The names that indexed pages explain. The key is the last part of the name in lower case: `create_task` of
-- `asyncio.create_task`, `dry-run` of `--dry-run`.
CREATE TABLE symbols (
    docset_id TEXT NOT NULL,
    key       TEXT NOT NULL,
    page_seq  INTEGER NOT NULL REFERENCES pages (seq) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    kind      TEXT NOT NULL,
    anchor    TEXT,
    chunk     INTEGER,                          -- ordinal of the chunk that explains it
    listed    INTEGER NOT NULL DEFAULT 0        -- 1: the site's inventory told it, not the page
) STRICT;
CREATE INDEX symbols_by_key ON symbols (key, docset_id);
CREATE INDEX symbols_by_page ON symbols (page_seq);

-- What a docset's site said in its robots.txt ("" when it has none).
CREATE TABLE robots (
    docset_id  TEXT PRIMARY KEY REFERENCES docsets (id) ON DELETE CASCADE,
    body       TEXT NOT NULL,
    fetched_at INTEGER NOT NULL
) STRICT;

CREATE TABLE chunks (
    seq       INTEGER PRIMARY KEY,              -- the order in which they are embedded
    id        TEXT NOT NULL UNIQUE,
    page_id   TEXT NOT NULL REFERENCES pages (id) ON DELETE CASCADE,
    docset_id TEXT NOT NULL,
    ordinal   INTEGER NOT NULL,
    section   INTEGER NOT NULL,                 -- ordinal of the first chunk of its section
    anchor    TEXT,
    chars     INTEGER NOT NULL,                 -- of its text
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
    unused_since INTEGER,                       -- when no chunk had its text any more
    PRIMARY KEY (text_hash, model)              -- in this order: texts that are gone are looked up without a model
) STRICT;
CREATE INDEX vectors_unused ON vectors (unused_since) WHERE unused_since IS NOT NULL;

-- The editors that are connected.
CREATE TABLE sessions (
    id             TEXT PRIMARY KEY,
    client_type    TEXT NOT NULL,
    connected_at   INTEGER NOT NULL,
    last_heartbeat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
