"""The daemon's life: what a stop, a kill, a lost shelf or a second daemon must not change. Real processes, real signals."""

import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import apsw
import lancedb
import psutil
import pytest

from docworker import __version__
from tests.daemon import Daemon, wait_until
from tests.site import Answer, Site
from tests.stopping_site import AT_ONCE, WORDS, StoppingSite

PAGES, BEFORE_THE_STOP = 16, 7


def indexed(data_dir: Path) -> dict[str, list[str]]:
    """Every page's URL with its chunk ids in page order, as the catalog on disk has them."""
    db = apsw.Connection(str(data_dir / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    found: dict[str, list[str]] = {str(url): [] for (url,) in db.execute("SELECT url FROM pages WHERE state = 'indexed'")}
    rows = db.execute("SELECT url, chunks.id FROM chunks JOIN pages ON pages.id = page_id ORDER BY url, ordinal").fetchall()
    for url, id_ in rows:
        found[str(url)].append(str(id_))
    db.close()
    return found


def known(data_dir: Path) -> list[tuple[object, ...]]:
    """Every URL in the order of its discovery, with where it was found and what became of it."""
    db = apsw.Connection(str(data_dir / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    rows = db.execute("SELECT url, turn, depth, place, discovered_from, state, reason, target, followed FROM pages ORDER BY seq")
    found = [tuple(row) for row in rows]
    db.close()
    return found


def shelved(data_dir: Path, table: str) -> list[str]:
    """The ids in one of the shelf's tables, as often as they are there."""
    rows = lancedb.connect(str(data_dir / "shelf")).open_table(table).to_arrow()
    return sorted(str(id_) for id_ in rows["id"].to_pylist())


def begin(daemon: Daemon, site: Site) -> str:
    made = daemon.post("/index", baseUrl=site.url, seedSlug="/docs/")
    return str(made["docsetId"])


def serve_again(daemon: Daemon) -> "subprocess.CompletedProcess[str]":
    """What `docworker serve` says when it cannot."""
    return subprocess.run(
        [sys.executable, "-m", "cli", "serve"], env=daemon.environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def generated() -> Iterator[StoppingSite]:
    with StoppingSite(PAGES) as site:
        yield site


@pytest.fixture(scope="module")
def undisturbed(generated: StoppingSite, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """The data folder of an undisturbed crawl of the generated site; its daemon has ended."""
    folder = tmp_path_factory.mktemp("life") / "data"
    generated.begin(None)
    with Daemon(folder, cache_dir, requests_per_host=AT_ONCE) as daemon:
        daemon.wait_ready(begin(daemon, generated), vectors=True, timeout_s=60)
    return folder


def test_an_undisturbed_crawl_has_every_page_once(undisturbed: Path, generated: StoppingSite) -> None:
    pages = indexed(undisturbed)
    assert set(pages) == {f"{generated.url}{path}" for path in generated.pages}
    ids = sorted(id_ for of_page in pages.values() for id_ in of_page)
    assert len(ids) == len(set(ids)) >= 2 * PAGES
    assert shelved(undisturbed, "chunks") == shelved(undisturbed, "vectors") == ids


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_crawl_that_was_stopped_goes_on_by_itself_to_the_same_end(
    make_daemon: Callable[..., Daemon], generated: StoppingSite, undisturbed: Path, number: signal.Signals
) -> None:
    generated.begin(hold_after=BEFORE_THE_STOP)
    daemon = make_daemon(requests_per_host=AT_ONCE, request_timeout_s=120)
    with daemon:
        docset_id = begin(daemon, generated)
        wait_until(lambda: generated.asked_for_pages == BEFORE_THE_STOP + AT_ONCE, "the site's holding still")
        pages = f"/docset/{docset_id}"
        wait_until(lambda: daemon.get(pages)["indexStatus"]["indexedPages"] == BEFORE_THE_STOP, "the pages before the stop")
        daemon.end(number)
        done = indexed(daemon.settings.data_dir)
        assert len(done) == BEFORE_THE_STOP
        generated.let_go()
        daemon.start()
        assert daemon.wait_ready(docset_id, vectors=True, timeout_s=60)["status"] == "ready"
        counts = daemon.get(f"/docset/{docset_id}")["indexStatus"]
        # an orderly stop gives pages back; after a crash they count as tried
        retried = AT_ONCE if number == signal.SIGKILL else 0
        assert (counts["totalPages"], counts["indexedPages"], counts["retriedPages"]) == (PAGES + 1, PAGES + 1, retried)
        assert [url for url in done if generated.requests[url.removeprefix(generated.url)] != 1] == []
        assert generated.asked_for_pages == PAGES + 1 + AT_ONCE
        assert (generated.requests["/robots.txt"], generated.requests["/sitemap.xml"]) == (1, 1)
        daemon.end()
    assert indexed(daemon.settings.data_dir) == indexed(undisturbed)
    assert known(daemon.settings.data_dir) == known(undisturbed)
    assert shelved(daemon.settings.data_dir, "chunks") == shelved(undisturbed, "chunks")
    assert shelved(daemon.settings.data_dir, "vectors") == shelved(undisturbed, "vectors")


def test_rows_of_pages_that_were_never_committed_are_swept(
    make_daemon: Callable[..., Daemon], generated: StoppingSite, undisturbed: Path
) -> None:
    """A kill between the shelf and the commit, made by hand: rows that no page lists."""
    generated.begin(None)
    daemon = make_daemon(requests_per_host=AT_ONCE)
    folder = daemon.settings.data_dir
    shutil.copytree(undisturbed, folder)
    db = apsw.Connection(str(folder / "catalog.sqlite"))
    (lost,) = db.execute("SELECT id FROM pages WHERE url LIKE '%/p7'").fetchall()
    db.execute("DELETE FROM chunks WHERE page_id = ?", lost).fetchall()
    db.execute("UPDATE pages SET state = 'fetching', lease_until = 9e15, attempts = 1 WHERE id = ?", lost).fetchall()
    db.close()
    with daemon:
        docset_id = daemon.get("/status")["docsets"][0]["id"]
        wait_until(lambda: generated.requests["/docs/p7"] == 1, "the page's request")
        wait_until(lambda: daemon.get(f"/docset/{docset_id}")["indexStatus"]["indexedPages"] == PAGES + 1, "the page")
        daemon.wait_ready(docset_id, vectors=True, timeout_s=60)
    assert dict(generated.requests) == {"/docs/p7": 1}
    assert indexed(folder) == indexed(undisturbed)
    assert shelved(folder, "chunks") == shelved(folder, "vectors") == shelved(undisturbed, "chunks")


def shelf_is_whole(daemon: Daemon) -> bool:
    """Whether every page that tells of the falcon is found by it."""
    found = daemon.post("/retrieve", query="falcon", topK=100, maxChunksPerPage=1, maxTotalChars=10**6)["results"]
    titles = ["Start", *(f"Page {number}" for number in range(1, PAGES + 1))]
    expected = {title for title in titles if WORDS[sum(title.encode()) % len(WORDS)] == "falcon"}
    return {result["title"] for result in found if "falcon" in result["content"]} == expected


@pytest.mark.parametrize("loss", ["garbage", "vectors deleted"])
def test_a_lost_shelf_is_made_again_without_a_request_to_the_site(
    make_daemon: Callable[..., Daemon], generated: StoppingSite, undisturbed: Path, loss: str
) -> None:
    generated.begin(None)
    daemon = make_daemon()
    folder = daemon.settings.data_dir
    shutil.copytree(undisturbed, folder)
    if loss == "garbage":
        for file in [file for file in (folder / "shelf").rglob("*") if file.is_file()]:
            file.write_bytes(b"garbage" * 50)
    else:
        shutil.rmtree(folder / "shelf" / "vectors.lance")
    with daemon:
        docset_id = daemon.get("/status")["docsets"][0]["id"]
        daemon.wait_ready(docset_id, vectors=True, timeout_s=60)
        wait_until(lambda: shelved(folder, "chunks") == shelved(undisturbed, "chunks"), "the shelf's return")
        assert shelf_is_whole(daemon)
    assert shelved(folder, "chunks") == shelved(folder, "vectors") == shelved(undisturbed, "chunks")
    assert generated.requests.total() == 0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    """A daemon that no test stops."""
    with Daemon(tmp_path_factory.mktemp("running") / "data", cache_dir) as daemon:
        yield daemon


def test_a_second_daemon_on_the_folder_is_refused_and_told_the_first_ones_pid(running: Daemon) -> None:
    assert running.process is not None
    told = (running.settings.data_dir / "daemon.json").read_bytes()
    refused = serve_again(running)
    assert refused.returncode == 1
    assert re.fullmatch(
        rf"Another docworker runs on {re.escape(str(running.settings.data_dir))} \(pid {running.process.pid}, "
        rf"{re.escape(running.url)}\)\.\n",
        refused.stderr,
    )
    assert (running.settings.data_dir / "daemon.json").read_bytes() == told
    assert running.get("/health")["ready"] is True


def test_a_port_that_is_taken_is_said(make_daemon: Callable[..., Daemon]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = make_daemon(port=port)
        refused = serve_again(daemon)
        assert refused.returncode == 1
        assert f"127.0.0.1:{port} cannot be listened at" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert not (daemon.settings.data_dir / "daemon.json").exists()
    with daemon:  # nothing stays behind that keeps the next start from working
        assert daemon.url.endswith(f":{port}")


def test_a_port_that_another_docworker_has_is_said_and_doctor_sees_it_too(
    running: Daemon, make_daemon: Callable[..., Daemon]
) -> None:
    port = int(running.url.rpartition(":")[2])
    other = make_daemon("other", port=port)
    refused = serve_again(other)
    assert refused.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened at: another docworker ({__version__}) answers there" in refused.stderr
    doctor = subprocess.run(
        [sys.executable, "-m", "cli", "doctor"],
        env=other.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert doctor.returncode == 1
    assert f"wrong   port: 127.0.0.1:{port} cannot be listened at: another docworker" in doctor.stdout


def test_worker_processes_end_soon_after_their_daemon_was_killed(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    with Site({"/docs/": "<h1>Docs</h1><p>Text.</p>"}) as site, make_daemon(extract_workers=2, model_dir=tmp_path) as daemon:
        assert daemon.process is not None
        begin(daemon, site)
        children = psutil.Process(daemon.process.pid).children(recursive=True)
        assert children
        daemon.end(signal.SIGKILL)
        wait_until(lambda: not any(alive(child) for child in children), "the end of the workers", 20)


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_folder_is_private_and_tells_of_the_daemon_only_while_it_runs_and_a_stop_leaves_no_process(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    folder = daemon.settings.data_dir
    folder.mkdir(mode=0o755)
    with Site({"/docs/": "<h1>Docs</h1><p>Text.</p>"}) as site, daemon:
        assert daemon.process is not None
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "daemon.json").stat().st_mode) == 0o600
        begin(daemon, site)
        children = psutil.Process(daemon.process.pid).children(recursive=True)
        assert children
        daemon.end()
        assert daemon.process.returncode == 0
        assert not (folder / "daemon.json").exists()
        wait_until(lambda: not any(alive(child) for child in children), "the end of the workers", 20)


class HangingSite(Site):
    """Answers one path only when it ends."""

    def __init__(self, path: str) -> None:
        super().__init__({"/docs": "<h1>Docs</h1><p>Text.</p>"})
        self.path = path

    def answer(self, path: str) -> Answer:
        if path == self.path:
            self.ended.wait(60)
        return super().answer(path)


def test_sigterm_ends_the_daemon_during_crawls_of_hanging_sites(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    paths = ("/robots.txt", "/docs", "/sitemap.xml")
    with ExitStack() as entered:
        sites = [entered.enter_context(HangingSite(path)) for path in paths]
        daemon = entered.enter_context(make_daemon(request_timeout_s=300, model_dir=tmp_path))
        assert daemon.process is not None
        for site in sites:
            daemon.post("/index", baseUrl=site.url, seedSlug="/docs", waitForSeed=False)
        wait_until(lambda: [site.requests[site.path] for site in sites] == [1, 1, 1], "the requests")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(10) == 0


def test_sigterm_ends_the_daemon_while_it_starts(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    daemon.process = subprocess.Popen([sys.executable, "-m", "cli", "serve"], env=daemon.environment, stderr=subprocess.DEVNULL)
    told = daemon.settings.data_dir / "daemon.json"
    wait_until(told.exists, "listening")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0
    assert not told.exists()


def test_a_catalog_that_cannot_be_read_ends_the_daemon_with_a_sentence(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    daemon.settings.data_dir.mkdir()
    (daemon.settings.data_dir / "catalog.sqlite").write_bytes(b"no database " * 1_000)
    refused = serve_again(daemon)
    assert refused.returncode == 1
    assert re.fullmatch(
        r"The catalog \(catalog\.sqlite in the data folder\) is damaged: .*\. `docworker doctor` says what to do\.\n",
        refused.stderr,
    )
    assert not (daemon.settings.data_dir / "daemon.json").exists()
