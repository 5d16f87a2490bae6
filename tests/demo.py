"""`make demo`: the main job on real pages. Starts a site and a daemon of its own, indexes, asks, and stops both.

`python -m tests.demo [URL]`: without a URL it indexes docworker's own handbook, served from `fixtures/sites/handbook`.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.daemon import Daemon
from tests.site import Site

_ROOT = Path(__file__).parent.parent
_HANDBOOK_QUESTIONS = (
    "What happens to a crawl if the daemon is killed halfway through?",
    "How does the character budget shorten code blocks?",
    "How do I use docworker on a machine without internet?",
)
_SITE_QUESTIONS = ("How do I get started?", "configuration options and their defaults", "handle errors and time-outs")
_MAX_CHARS = 2_400


def main() -> None:
    """Run the demo; a signal ends it as an interrupt does, and nothing is left running."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    url = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        with ExitStack() as closing:
            _demo(url, closing)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted; everything that was started has been stopped.")


def _demo(url: str | None, closing: ExitStack) -> None:
    data = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="docworker-demo-", ignore_cleanup_errors=True)))
    # the prepared model stays in the virtual environment, so that a second demo starts at once
    daemon = Daemon(data, Path(sys.prefix) / "model")
    if url is None:
        site = closing.enter_context(Site(folder=_ROOT / "fixtures" / "sites" / "handbook"))
        url, questions = f"{site.url}/", _HANDBOOK_QUESTIONS
    else:
        questions = _SITE_QUESTIONS
    _say(f"Starting a daemon of its own, with a data folder to throw away, and indexing {url}")
    begin = time.monotonic()
    closing.enter_context(daemon)
    _say(f"The daemon answers at {daemon.url} after {time.monotonic() - begin:.1f} s. Indexing:")
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cli", "index", url], env=daemon.environment, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    _say(f"Indexed in {time.monotonic() - begin:.1f} s. What an assistant would get within {_MAX_CHARS} characters:")
    width = min(shutil.get_terminal_size().columns, 120)
    for question in questions:
        begin = time.monotonic()
        answer = daemon.post("/retrieve", query=question, topK=3, maxTotalChars=_MAX_CHARS)
        took_ms = (time.monotonic() - begin) * 1e3
        print("\n" + "═" * width)
        print(f"❯ {question}   ({took_ms:.0f} ms, {answer['totalChars']} characters)")
        print("═" * width)
        print("\n\n".join(result["snippet"]["formatted"] for result in answer["results"]) or "Nothing found.")
    print("\n" + "═" * width)
    _say("Done: the daemon and the site are stopped, their data is deleted. To keep an index: .venv/bin/docworker index URL")


def _say(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{bold}{text}{plain}", flush=True)


if __name__ == "__main__":
    main()
