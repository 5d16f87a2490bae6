"""docworker: a local documentation daemon for people who code with an assistant.

Start reading at `docworker.indexing.pipeline` (what happens to a page) or `docworker.retrieval.search`
(why a chunk won); `docworker.daemon` puts the parts together.
"""

import os

__version__ = "0.1.0"

PROJECT_URL = "https://github.com/docworker/docworker"
"""Where a site's operator can read what has asked for its pages."""

SCHEMA_VERSION = 6
"""Version of what the data folder holds; older ones are brought up to it, a daemon refuses a folder of a newer one."""

EXTRACTOR_VERSION = 2
"""To be raised with every change to what a page comes to: pages read by another one are asked for and read anew."""

CHUNKER_VERSION = 1
"""To be raised with every change to what a stored Document comes to: it is then cut anew, without asking its site."""

# Nothing about what is read or asked leaves the machine, so no library may report home. onnxruntime does by default, from
# its import on: it makes a device id and sends events (its Privacy.md). Hence here, before anything else is imported.
for _variable in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[_variable] = "1"
