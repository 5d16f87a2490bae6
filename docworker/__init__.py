"""docworker: a local documentation daemon for people who code with an assistant.

Start reading at `docworker.indexing.pipeline` (what happens to a page) or `docworker.retrieval.search`
(why a chunk won); `docworker.daemon` puts the parts together.
"""

__version__ = "0.1.0"

SCHEMA_VERSION = 1
"""Version of what the data folder holds; a daemon refuses a folder of another one."""
