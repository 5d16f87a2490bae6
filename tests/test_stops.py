"""Starting and stopping: shells at once, a daemon that stops, hangs or was killed, signals and terminals, how long that takes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import httpx
import psutil
import pytest

from tests.daemon import Daemon, wait_until
from tests.site import Answer, Site
from tests.stopping_site import AT_ONCE, StoppingSite
from tests.terminal import Terminal
from tests.test_cli import Finished, assert_one_sentence, document, done, run
from tests.test_life import alive, begin, indexed

PAGES = 12


def longest_stop_s() -> float:
    """What is promised; on a machine with many times more to do than it has cores, a process waits that long for its turn."""
    return 5.0 if os.getloadavg()[0] <= 2 * (os.cpu_count() or 1) else 10.0


@pytest.fixture
def site() -> Iterator[StoppingSite]:
    with StoppingSite(PAGES) as running:
        yield running


def shell(daemon: Daemon, *arguments: str) -> "subprocess.Popen[str]":
    """A command in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        env=daemon.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> Finished:
    out, err = process.communicate(timeout=90)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def serving(folder: Path) -> list[psutil.Process]:
    """The `docworker serve` processes on a data folder, also those that only wait for it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:4] == ["-m", "cli", "serve"] and process.environ().get("DOCWORKER_DATA_DIR") == str(folder):
                found.append(process)
        except psutil.Error:  # it ended meanwhile, or is none of ours
            continue
    return found


def stop_s(daemon: Daemon, *signals: signal.Signals) -> float:
    """How long the daemon takes to end after a signal; asserts that it ends as it should."""
    assert daemon.process is not None
    begun = time.monotonic()
    for number in signals or (signal.SIGTERM,):
        daemon.process.send_signal(number)
    assert daemon.process.wait(30) == 0, daemon.log()[-3000:]
    took = time.monotonic() - begun
    assert not (daemon.settings.data_dir / "daemon.json").exists()
    return took


def stale(folder: Path, pid: int, port: int) -> None:
    """What a daemon told that was killed; its pid, and its port, have others now."""
    folder.mkdir(mode=0o700, exist_ok=True)
    told = {"instance": "0123456789abcdef", "pid": pid, "host": "127.0.0.1", "port": port, "version": "0.0.9"}
    (folder / "daemon.json").write_text(json.dumps(told), "utf-8")


# -- starting


def test_ten_shells_that_start_it_at_once_start_one(idle: Daemon) -> None:
    stale(idle.settings.data_dir, os.getpid(), 9)
    shells = [shell(idle, "start", "--json") for _ in range(10)]
    answers = [document(done(finished(each))) for each in shells]
    assert len({answer["pid"] for answer in answers}) == 1
    wait_until(lambda: [process.pid for process in serving(idle.settings.data_dir)] == [answers[0]["pid"]], "the others' end", 20)
    assert document(done(run(idle, "start", "--json"))) == answers[0]


def test_start_while_one_is_stopping_gets_a_new_one(make_daemon: Callable[..., Daemon], site: StoppingSite) -> None:
    site.begin(hold_after=5)
    with make_daemon(requests_per_host=AT_ONCE, request_timeout_s=120) as daemon:
        docset_id = begin(daemon, site)
        wait_until(lambda: site.asked_for_pages == 5 + AT_ONCE, "the site's holding still")
        assert daemon.process is not None
        begun = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        shells = [shell(daemon, "start", "--json") for _ in range(2)]
        assert daemon.process.wait(30) == 0
        assert time.monotonic() - begun < longest_stop_s()
        answers = [document(done(finished(each))) for each in shells]
        site.let_go()
        try:
            assert answers[0] == answers[1]
            assert answers[0]["pid"] != daemon.process.pid
            daemon.url = answers[0]["url"]
            assert daemon.wait_ready(docset_id)["indexStatus"]["indexedPages"] == PAGES + 1
        finally:
            assert document(done(run(daemon, "stop", "--json"))) == {"stopped": True}


def test_health_answers_while_the_stores_are_being_opened(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon, held = make_daemon(), tmp_path / "held"
    command = ["tests.crash_at", "before", "store.catalog:Catalog.open", "1", "--hold", str(held)]
    daemon.process = subprocess.Popen([sys.executable, "-m", *command], env=daemon.environment, stderr=subprocess.DEVNULL)
    wait_until(held.exists, "the catalog's turn")
    url = f"http://127.0.0.1:{json.loads((daemon.settings.data_dir / 'daemon.json').read_text())['port']}"
    health = httpx.get(f"{url}/health").json()
    assert (health["status"], health["ready"]) == ("ok", False)
    early = httpx.post(f"{url}/retrieve", json={"query": "anything"})
    assert (early.status_code, early.headers["Retry-After"]) == (503, "1")
    assert early.json() == {"error": "docworker is starting; try again in a second."}
    assert stop_s(daemon) < longest_stop_s()


def test_a_port_that_another_docworker_has_is_said_as_that(make_daemon: Callable[..., Daemon]) -> None:
    with make_daemon("first") as first:
        port = first.url.rpartition(":")[2]
        second = make_daemon("second", port=port)
        said = (
            rf"127.0.0.1:{port} cannot be listened at: another docworker \(.+\) answers there, for another folder; stop that one"
        )
        assert_one_sentence(run(second, "serve"), 1, f"^{said}")
        assert_one_sentence(run(second, "start"), 3, f"^The daemon did not start: {said}")
        assert document(done(run(second, "stop", "--json"))) == {"stopped": False}
        assert first.get("/health")["ready"] is True


def test_a_port_that_a_docworker_with_a_token_or_something_else_has_is_said_too(make_daemon: Callable[..., Daemon]) -> None:
    with Site() as site:
        port = site.url.rpartition(":")[2]
        assert_one_sentence(
            run(make_daemon(port=port), "start"), 3, rf":{port} cannot be listened at: [^;]*in use; stop what uses it"
        )


@pytest.mark.parametrize("listener", ["nobody", "another program", "another docworker"])
def test_what_a_killed_daemon_told_is_no_obstacle_and_no_other_process_gets_its_signal(
    make_daemon: Callable[..., Daemon], idle: Daemon, listener: str
) -> None:
    with Site() as site, subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        port = int(site.url.rpartition(":")[2])
        if listener == "nobody":
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        elif listener == "another docworker":
            other = make_daemon("other")
            other.start()
            port = int(other.url.rpartition(":")[2])
        stale(idle.settings.data_dir, innocent.pid, port)
        assert done(run(idle, "stop")) == "docworker does not run.\n"
        assert_one_sentence(run(idle, "status"), 3, "^docworker does not run")
        made = document(done(run(idle, "start", "--json")))
        assert made["pid"] != innocent.pid
        assert document(done(run(idle, "stop", "--json"))) == {"stopped": True}
        assert innocent.poll() is None
        if listener == "another docworker":
            assert other.get("/health")["ready"] is True
        innocent.communicate(b"\n")
        assert innocent.returncode == 0


# -- stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_daemon_whose_parent_does_not_look_after_it_has_stopped_all_the_same(
    make_daemon: Callable[..., Daemon], number: signal.Signals
) -> None:
    with make_daemon() as daemon:
        assert daemon.process is not None
        if number == signal.SIGTERM:
            assert document(done(run(daemon, "stop", "--json"))) == {"stopped": True}
        else:
            daemon.process.send_signal(number)
        zombie = psutil.Process(daemon.process.pid)
        wait_until(lambda: zombie.status() == psutil.STATUS_ZOMBIE, "its end")
        assert document(done(run(daemon, "stop", "--json"))) == {"stopped": False}
        made = document(done(run(daemon, "start", "--json")))
        assert made["pid"] != daemon.process.pid
        assert document(done(run(daemon, "stop", "--json"))) == {"stopped": True}


def test_a_daemon_that_hangs_is_named_and_not_said_to_be_gone(make_daemon: Callable[..., Daemon]) -> None:
    with make_daemon() as daemon:
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            shells = [shell(daemon, "stop"), shell(daemon, "status")]
            for each in shells:
                assert_one_sentence(finished(each), 3, rf"does not answer; .* end its process \(pid {daemon.process.pid}\)\.$")
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        assert daemon.get("/health")["ready"] is True
        assert document(done(run(daemon, "stop", "--json"))) == {"stopped": True}


def test_stop_ends_a_daemon_that_another_shell_is_starting(idle: Daemon) -> None:
    told = idle.settings.data_dir / "daemon.json"
    starting = shell(idle, "start")
    wait_until(told.exists, "listening")
    assert document(done(run(idle, "stop", "--json"))) == {"stopped": True}
    ended = finished(starting)
    assert "Traceback" not in ended.stderr
    assert ended.returncode in (0, 3)  # it may have answered for a moment
    wait_until(lambda: serving(idle.settings.data_dir) == [], "the end of it", 20)
    assert not told.exists()


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGHUP]],
    ids=lambda each: "+".join(s.name for s in each),
)
def test_each_signal_that_ends_it_lets_it_end_in_order(
    make_daemon: Callable[..., Daemon], site: StoppingSite, signals: list[signal.Signals]
) -> None:
    site.begin(hold_after=3)
    with make_daemon(requests_per_host=AT_ONCE, request_timeout_s=120) as daemon:
        begin(daemon, site)
        wait_until(lambda: site.asked_for_pages == 4, "the first level, of which one page is held")
        assert stop_s(daemon, *signals) < longest_stop_s()
        assert daemon.log().rstrip().endswith("stopped")
    assert len(indexed(daemon.settings.data_dir)) == 3


def test_under_nohup_a_hangup_does_not_end_it(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    daemon.start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    assert "docworker answers" in done(run(daemon, "start"))
    assert daemon.process.poll() is None


def test_a_terminal_that_is_closed_ends_serve_in_order_and_leaves_start_alone(make_daemon: Callable[..., Daemon]) -> None:
    started, served = make_daemon("started"), make_daemon("served")
    with Terminal(started.environment, "start") as terminal:
        code, shown = terminal.ended()
        assert code == 0, shown
        terminal.close()
    with Terminal(served.environment, "serve") as terminal:
        terminal.wait_for("ready")
        terminal.close()
        assert terminal.process.wait(10) == 0
    assert served.log().rstrip().endswith("stopped")
    assert not (served.settings.data_dir / "daemon.json").exists()
    assert "Nothing is indexed yet" in done(run(started, "status"))
    assert document(done(run(started, "stop", "--json"))) == {"stopped": True}


def long_page(sections: int) -> str:
    """A page whose extraction takes its time."""
    parts = (f"<h2>Part {n}</h2><p>Part {n} tells of <b>this</b> and of <code>that</code>.</p>" for n in range(sections))
    return f"<title>Long</title><main><h1>Long</h1>{''.join(parts)}</main>"


def state_of(folder: Path, path: str) -> str:
    db = apsw.Connection(str(folder / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    ((state,),) = db.execute("SELECT state FROM pages WHERE url LIKE ?", ("%" + path,)).fetchall()
    db.close()
    return str(state)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_to_all_its_processes_fails_no_page(make_daemon: Callable[..., Daemon], number: signal.Signals) -> None:
    """What a terminal does, and a service manager."""
    seed = "<title>Docs</title><h1>Docs</h1><p>Text.</p><a href='long'>long</a>"
    with Site({"/docs/": seed, "/docs/long": long_page(20_000)}) as site:
        daemon = make_daemon()
        daemon.start(start_new_session=True)
        assert daemon.process is not None
        docset_id = begin(daemon, site)
        wait_until(lambda: site.answers["/docs/long", 200] == 1, "the long page")
        worker = busy_worker(daemon)
        os.killpg(daemon.process.pid, number)
        begun = time.monotonic()
        assert daemon.process.wait(30) == 0
        assert time.monotonic() - begun < longest_stop_s()
        wait_until(lambda: not alive(worker), "the end of the worker", 20)
        assert state_of(daemon.settings.data_dir, "/docs/long") in ("indexed", "pending")
        site.pages["/docs/long"] = long_page(3)
        daemon.start()
        assert daemon.wait_ready(docset_id)["indexStatus"]["indexedPages"] == 2
        daemon.end()


def busy_worker(daemon: Daemon) -> psutil.Process:
    """The worker process, once it is at a page: it has used a quarter of a second of the processor since it was first seen."""
    assert daemon.process is not None
    children = psutil.Process(daemon.process.pid).children()
    (worker,) = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    used = worker.cpu_times().user
    wait_until(lambda: worker.cpu_times().user > used + 0.25, "the worker's work")
    return worker


# -- five seconds, whatever is under way


@pytest.mark.parametrize(
    ("point", "work"),
    [
        ("inside store.refreshes:publish 1", "refresh"),  # as if taking the refresh over took for ever
        ("before store.shelf:_upsert 2", "index"),  # as if a write to the shelf did, or what holds it up: compacting
        ("inside store.pages:commit_indexed 3", "index"),
        ("before embedding.embedder:FastembedEmbedder.embed 2", "index"),
    ],
)
def test_a_stop_waits_for_no_step_that_takes_longer_and_nothing_is_lost(
    make_daemon: Callable[..., Daemon], site: StoppingSite, tmp_path: Path, point: str, work: str
) -> None:
    site.begin(None)
    daemon, held = make_daemon(requests_per_host=AT_ONCE), tmp_path / "held"
    if work == "refresh":
        with daemon:
            daemon.wait_ready(begin(daemon, site), vectors=True)
    daemon.start("tests.crash_at", *point.split(), "--hold", str(held))
    if work == "refresh":
        docset_id = daemon.get("/status")["docsets"][0]["id"]
        daemon.post("/refresh", docsetId=docset_id, force=True)
    else:
        docset_id = daemon.post("/index", baseUrl=site.url, seedSlug="/docs/", waitForSeed=False)["docsetId"]
    wait_until(held.exists, "the step")
    assert stop_s(daemon) < longest_stop_s()
    daemon.start()
    counts = daemon.wait_ready(docset_id, vectors=True)["indexStatus"]
    assert (counts["indexedPages"], counts["errorPages"]) == (PAGES + 1, 0)
    daemon.end()


def test_a_stop_waits_for_no_extraction(make_daemon: Callable[..., Daemon]) -> None:
    seed = "<title>Docs</title><h1>Docs</h1><p>Text.</p><a href='long'>long</a>"
    with Site({"/docs/": seed, "/docs/long": long_page(100_000)}) as site, make_daemon() as daemon:
        docset_id = begin(daemon, site)
        wait_until(lambda: site.answers["/docs/long", 200] == 1, "the long page")
        worker = busy_worker(daemon)
        assert stop_s(daemon) < longest_stop_s()
        wait_until(lambda: not alive(worker), "the end of the worker", 20)
        site.pages["/docs/long"] = long_page(3)
        daemon.start()
        assert daemon.wait_ready(docset_id)["indexStatus"]["indexedPages"] == 2


def test_a_stop_answers_the_questions_under_way_and_takes_no_more(make_daemon: Callable[..., Daemon], site: StoppingSite) -> None:
    site.begin(None)
    with make_daemon() as daemon:
        daemon.wait_ready(begin(daemon, site))
        over, asked = threading.Event(), threading.Barrier(65)

        def ask(number: int) -> set[int]:
            codes, body = set[int](), {"query": f"what does page {number} tell of the falcon", "topK": 20}
            with httpx.Client(base_url=daemon.url, timeout=30) as client:
                codes.add(client.post("/retrieve", json=body).status_code)
                asked.wait(60)
                while not over.is_set():
                    try:
                        codes.add(client.post("/retrieve", json=body).status_code)
                    except httpx.TransportError:
                        break
            return codes

        with ThreadPoolExecutor(64) as clients:
            answers: Sequence[Any] = [clients.submit(ask, number) for number in range(64)]
            asked.wait(60)
            try:
                assert stop_s(daemon) < longest_stop_s()
            finally:
                over.set()
        assert {code for each in answers for code in each.result()} <= {200, 503}
        assert not re.search(r"Traceback|ERROR", daemon.log()), daemon.log()[-3000:]


def test_a_stop_while_vectors_are_made_keeps_those_that_are_made(make_daemon: Callable[..., Daemon]) -> None:
    links = "".join(f"<a href='p{n}'>{n}</a>" for n in range(12))
    pages: dict[str, str | Answer] = {"/docs/": f"<title>Docs</title><h1>Docs</h1><p>Text.</p>{links}"}
    for n in range(12):
        text = "".join(f"<h2>{n} {m}</h2><p>{f'Page {n} has part {m} of {n * m}. ' * 20}</p>" for m in range(6))
        pages[f"/docs/p{n}"] = f"<title>{n}</title><h1>Page {n}</h1>{text}"
    with Site(pages) as site, make_daemon() as daemon:
        docset_id = begin(daemon, site)
        counts: dict[str, int] = {}

        def under_way() -> bool:
            counts.update(daemon.get(f"/docset/{docset_id}")["indexStatus"])
            return 0 < counts["embeddedChunks"] < counts["totalChunks"]

        wait_until(under_way, "vectors under way")
        assert stop_s(daemon) < longest_stop_s()
        daemon.start()
        assert daemon.get(f"/docset/{docset_id}")["indexStatus"]["embeddedChunks"] >= counts["embeddedChunks"]
        daemon.wait_ready(docset_id, vectors=True)
