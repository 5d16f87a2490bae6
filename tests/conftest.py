"""Fixtures: the real model, prepared once a session, and daemons of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.client import stop
from docworker.embedding.cache import Prepared
from docworker.embedding.embedder import FastembedEmbedder
from docworker.embedding.prepare import prepare
from tests.daemon import Daemon
from tests.stopping_site import StoppingSite

FIXTURES = Path(__file__).parent.parent / "fixtures"
# The files that take longest, by their names without `test_`: begun first, so that all processes have work to the end.
LONGEST = ("crash", "outages", "stops", "sessions", "politeness", "refresh", "life", "events", "migrations", "attacks", "crawl")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The model as made from the installed package, in a cache of this session."""
    return prepare(None, tmp_path_factory.mktemp("cache"), download=False)


@pytest.fixture(scope="session")
def cache_dir(prepared: Prepared) -> Path:
    return Path(prepared.folder).parent


@pytest.fixture(scope="session")
def embedder(prepared: Prepared) -> FastembedEmbedder:
    return FastembedEmbedder(Path(prepared.folder), prepared.model_id)


@pytest.fixture
def make_daemon(tmp_path: Path, cache_dir: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons (not started) on `tmp_path / name`; all that still run are ended afterwards, also those of a command."""
    made: list[Daemon] = []

    def make(name: str = "data", **settings: object) -> Daemon:
        daemon = Daemon(tmp_path / name, settings.pop("cache_dir", cache_dir), **settings)  # type: ignore[arg-type]
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.end()
        stop(daemon.settings)


@pytest.fixture
def idle(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that does not run yet."""
    return make_daemon("idle")


@pytest.fixture(scope="module")
def generated() -> Iterator[StoppingSite]:
    """The generated site of 41 pages."""
    with StoppingSite() as site:
        yield site


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    """A running daemon with an empty data folder; retries are few and quick failures quick."""
    with make_daemon(request_attempts=2) as running:
        yield running
