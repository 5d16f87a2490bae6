"""A daemon that is started, stopped, killed and started twice, in random order, while it crawls, refreshes and answers.

After each action: it came to its end in time, and never do two daemons have the folder. At the end: no page is lost, and the
index is what an undisturbed crawl makes.

    python -m tests.soak [--actions 100] [--seed N]       (make soak)
"""

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from cli.client import find
from docworker.embedding.prepare import prepare
from tests.daemon import Daemon
from tests.site import Answer, Site

AT_ONCE = 4
LIMIT_S = 60.0  # of one action, on a machine that does other things too
_CLIENTS = 4
_WORDS = ("antelope", "beaver", "cormorant", "dingo", "egret", "falcon", "gecko", "hyena")


def site_of(pages: int, delay_s: float) -> Site:
    """A site whose pages lead to three others each, and come a little late."""
    made: dict[str, str | Answer] = {}
    for n in range(pages):
        links = "".join(f'<a href="/docs/p{child}">{child}</a>' for child in range(3 * n + 1, min(3 * n + 4, pages)))
        text = f"Page {n} tells of the {_WORDS[n % len(_WORDS)]}, and of nothing else. " * 6
        body = f"<title>Page {n}</title><main><h1>Page {n}</h1><h2>Part</h2><p>{text}</p></main><nav>{links}</nav>"
        made[f"/docs/p{n}" if n else "/docs/"] = Answer(body=body, delay_s=delay_s)
    return Site(made)


def processes(folder: Path) -> list[psutil.Process]:
    """The `docworker serve` processes on a data folder, also those that only wait for it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:4] == ["-m", "cli", "serve"] and process.environ().get("DOCWORKER_DATA_DIR") == str(folder):
                found.append(process)
        except (psutil.Error, IndexError):  # it ended meanwhile, or is none of ours
            continue
    return found


def listening(folder: Path) -> list[int]:
    """The pids of those that answer."""
    found = []
    for process in processes(folder):
        try:
            if any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp")):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@dataclass
class Soak:
    """One run: the actions, and what they took."""

    daemon: Daemon
    site: Site
    draw: random.Random
    took: dict[str, list[float]] = field(default_factory=dict)
    codes: dict[int, int] = field(default_factory=dict)
    running: bool = False  # whether a daemon should run
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def folder(self) -> Path:
        return self.daemon.settings.data_dir

    # -- actions

    def command(self, *arguments: str) -> Any:
        """A command's JSON; it has to end well."""
        ended = subprocess.run(
            [sys.executable, "-m", "cli", *arguments, "--json"],
            env=self.daemon.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert ended.returncode == 0, f"{arguments}: {ended.returncode} {ended.stderr}\n{self.daemon.log()[-3000:]}"
        return json.loads(ended.stdout)

    def start(self) -> None:
        self.answers(self.command("start"))

    def answers(self, told: Any) -> None:
        """It is the one that answers."""
        self.running, self.daemon.url = True, told["url"]
        assert self.daemon.get("/health")["ready"] is True
        assert listening(self.folder) == [told["pid"]]
        self.work()

    def start_twice(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "cli", "start", "--json"], env=self.daemon.environment, stdout=subprocess.PIPE, text=True
        ) as other:
            told = self.command("start")
            out, _ = other.communicate(timeout=LIMIT_S)
            assert (other.returncode, json.loads(out)) == (0, told)
        self.answers(told)

    def stop(self) -> None:
        assert self.command("stop") == {"stopped": self.running}
        assert listening(self.folder) == []
        self.running = False

    def restart(self) -> None:
        """A stop that is not waited for, and a start at once."""
        address = find(self.daemon.settings)
        if address is not None:
            psutil.Process(address.pid).send_signal(signal.SIGTERM)
        told = self.command("start")
        assert address is None or told["pid"] != address.pid
        self.answers(told)

    def kill(self) -> None:
        for pid in listening(self.folder):
            process = psutil.Process(pid)
            process.kill()
            process.wait(10)
        self.running = False

    def work(self) -> None:
        """Let it have something to do: a crawl until the docset is there, then refreshes."""
        docsets = self.daemon.get("/status")["docsets"]
        if not docsets:
            self.daemon.post("/index", baseUrl=self.site.url, seedSlug="/docs/", waitForSeed=False)
        elif docsets[0]["status"] == "ready":
            self.daemon.post("/refresh", docsetId=docsets[0]["id"], force=True)

    # -- who asks meanwhile

    def _ask(self, number: int) -> None:
        while not self._over.is_set():
            try:
                body = {"query": f"which page tells of the {_WORDS[number % len(_WORDS)]}"}
                code = httpx.post(self.daemon.url + "/retrieve", json=body, timeout=LIMIT_S).status_code
                self.codes[code] = self.codes.get(code, 0) + 1
            except (httpx.TransportError, httpx.UnsupportedProtocol):
                pass
            self._over.wait(0.1)

    def run(self, actions: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Do all of it; raises AssertionError at the first thing that is wrong."""
        kinds = [self.start, self.start_twice, self.stop, self.restart, self.kill]
        clients = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(_CLIENTS)]
        for client in clients:
            client.start()
        try:
            for number in range(actions):
                action = self.start if number == 0 else self.draw.choice(kinds)
                begun = time.monotonic()
                action()
                took = time.monotonic() - begun
                self.took.setdefault(action.__name__, []).append(took)
                assert len(listening(self.folder)) == int(self.running)
                say(f"{number + 1:4} {action.__name__:12} {took:6.2f} s  load {psutil.getloadavg()[0]:.1f}")
                self._over.wait(self.draw.random())  # of the work that it was given, some is done
            self.start()
            self._settle()
        finally:
            self._over.set()
            for client in clients:
                client.join(LIMIT_S)
        assert self.codes.keys() <= {200, 503}, self.codes

    def _settle(self) -> None:
        docset_id = self.daemon.get("/status")["docsets"][0]["id"]
        self.daemon.wait_ready(docset_id, vectors=True)
        left = self.daemon.post("/doctor")
        assert left["ok"] is True, left
        self.stop()
        deadline = time.monotonic() + LIMIT_S
        while processes(self.folder):
            assert time.monotonic() < deadline, "a process stays behind"
            time.sleep(0.05)


def soak(folder: Path, cache_dir: Path, *, pages: int, actions: int, seed: int, say: Callable[[str], None]) -> Soak:
    """Soak a daemon, and compare it to an undisturbed one."""
    from tests.test_life import indexed

    with site_of(pages, 0.02) as site:
        with Daemon(folder / "undisturbed", cache_dir, requests_per_host=AT_ONCE) as undisturbed:
            made = undisturbed.post("/index", baseUrl=site.url, seedSlug="/docs/")
            undisturbed.wait_ready(made["docsetId"], vectors=True)
        daemon = Daemon(folder / "soaked", cache_dir, requests_per_host=AT_ONCE)
        run = Soak(daemon, site, random.Random(seed))
        try:
            run.run(actions, say)
        finally:
            run.kill()
        found = indexed(daemon.settings.data_dir)
        assert len(found) == pages
        assert found == indexed(undisturbed.settings.data_dir)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="Start, stop and kill a daemon at random while it works.")
    parser.add_argument("--actions", type=int, default=100)
    parser.add_argument("--pages", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        prepare(None, cache, download=False)

        def say(line: str) -> None:
            print(line, flush=True)

        run = soak(Path(folder), cache, pages=given.pages, actions=given.actions, seed=given.seed, say=say)
    for name, took in sorted(run.took.items()):
        print(f"{name:12} {len(took):4} times, p50 {statistics.median(took):5.2f} s, max {max(took):5.2f} s")
    print(f"questions answered meanwhile, by status: {dict(sorted(run.codes.items()))}; seed {given.seed}")


if __name__ == "__main__":
    main()
