"""The daemon with little patience and little room, so that a test sees both end. The product knows nothing of it.

python -m tests.hasty_daemon
"""

from functools import partial

from docworker import daemon, sessions
from docworker.api import app, stream
from docworker.api.connections import Bounds, Runner
from docworker.settings import load

PATIENCE_S = 1.0
SESSIONS = 5


def main() -> None:
    bounds = Bounds(head_s=PATIENCE_S, linger_s=PATIENCE_S, unread_s=PATIENCE_S)
    daemon.Runner = partial(Runner, bounds=bounds)  # type: ignore[attr-defined,assignment]
    app._BODY_S = stream._PATIENCE_S = PATIENCE_S
    stream._STILL_THERE_S = PATIENCE_S / 5
    sessions._MOST = SESSIONS
    daemon.serve(load().settings, to_stderr=False)


if __name__ == "__main__":
    main()
