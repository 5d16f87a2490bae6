"""The index that is kept between runs, so that questions can be asked again without indexing again.

    FOLDER/data          the daemon's data folder, all corpora in it
    FOLDER/index.json    for each corpus what it was made with, and whether it was finished

A corpus is indexed again when extraction, chunking, URLs or the model have changed. What its shelf looks like is not looked
at: after a change to that, index afresh or have the shelf made again. A corpus that was interrupted goes on where it was.
"""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from docworker import SCHEMA_VERSION
from docworker.embedding.prepare import prepare
from tests.daemon import Daemon
from tests.evals.questions import CORPORA, base_url, folder, port
from tests.site import Site

_CODE = Path(__file__).parent.parent.parent / "docworker"
_CACHE = Path(sys.prefix) / "model"
_LONGEST_S = 3 * 3600.0  # for one corpus
_REPORT_S = 15.0


@dataclass(slots=True)
class Made:
    """What a corpus was indexed with, and how that went."""

    stamp: str
    finished: bool = False
    pages: int = 0
    chunks: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Index:
    """What `index.json` says."""

    schema: int = SCHEMA_VERSION
    corpora: dict[str, Made] = field(default_factory=dict)


class Kept:
    """A folder with an index of some corpora."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.model_id = prepare(None, _CACHE, download=False).model_id
        self.stamp = stamp(self.model_id)
        self._file = home / "index.json"
        self._data = home / "data"
        home.mkdir(parents=True, exist_ok=True)
        self.index = _read(self._file)
        if self.index.schema != SCHEMA_VERSION:
            shutil.rmtree(self._data, ignore_errors=True)
            self.index = Index()

    def daemon(self, **settings: object) -> Daemon:
        """A daemon on the kept data, not started; it never stops by itself nor downloads a model."""
        return Daemon(self._data, _CACHE, **({"keep_alive": True, "model_download": False} | settings))

    def is_current(self, corpus: str) -> bool:
        """Whether the corpus need not be indexed again."""
        made = self.index.corpora.get(corpus)
        return made is not None and made.finished and made.stamp == self.stamp

    def others(self, corpora: Sequence[str]) -> dict[str, str]:
        """What else stands in the index, and whether it is up to date."""
        kept = self.index.corpora
        return {name: "current" if self.is_current(name) else "of older code" for name in kept if name not in corpora}

    def bring_up_to_date(self, corpora: Sequence[str], tree: Path, *, fresh: bool, reshelve: bool) -> None:
        """Index what is not current, or all of it when `fresh`. Its daemon is ended: the next one begins with tidy tables.

        `reshelve`: the shelf is thrown away, and the daemon makes it again from the catalog, vectors included.
        Raises RuntimeError when the documentation is not there, or cannot be indexed.
        """
        todo = [name for name in corpora if fresh or not self.is_current(name)]
        abandoned = [name for name, made in self.index.corpora.items() if not made.finished and name not in todo]
        if not (todo or abandoned or reshelve):
            return
        missing = [str(folder(name, tree)) for name in todo if not folder(name, tree).is_dir()]
        if missing:
            raise RuntimeError(f"{', '.join(missing)}: not there; run `make corpora` first, or name the tree with --tree.")
        if reshelve:
            shutil.rmtree(self._data / "shelf", ignore_errors=True)
        with ExitStack() as open_:
            for name in todo:  # before the daemon: what was interrupted goes on as soon as it starts
                open_.enter_context(Site(folder=folder(name, tree), links_within=tree, port=port(name)))
            daemon = open_.enter_context(self.daemon())
            for name in abandoned:
                _delete(daemon, name)
                del self.index.corpora[name]
            for name in todo:
                self._make(daemon, name, fresh=fresh)
            wait_for_vectors(daemon, [docset["id"] for docset in daemon.get("/status")["docsets"]])
        self._write()

    def _make(self, daemon: Daemon, corpus: str, *, fresh: bool) -> None:
        begun = self.index.corpora.get(corpus)
        if begun is None or begun.finished or begun.stamp != self.stamp or fresh:
            _delete(daemon, corpus)
        made = self.index.corpora[corpus] = Made(self.stamp)
        self._write()
        begin = time.monotonic()
        ids = [
            daemon.post("/index", baseUrl=base_url(corpus), seedSlug=seed, name=name)["docsetId"]
            for name, seed in CORPORA[corpus].seeds.items()
        ]
        counts = [docset["indexStatus"] for docset in wait_for_vectors(daemon, ids)]
        made.pages, made.chunks = (sum(each[key] for each in counts) for key in ("indexedPages", "totalChunks"))
        if stamp(self.model_id) != self.stamp:
            print(f"docworker has changed while {corpus} was indexed: the next run does it again", file=sys.stderr)
        made.seconds, made.finished = round(time.monotonic() - begin, 1), True
        self._write()

    def _write(self) -> None:
        self._file.write_text(json.dumps(asdict(self.index), indent=2) + "\n", "utf-8")


def stamp(model_id: str) -> str:
    """What an index depends on: the code that makes chunks of pages, and the model."""
    files = [*sorted((_CODE / "extract").rglob("*.py")), _CODE / "chunking.py", _CODE / "urls.py", _CODE / "words.py"]
    return hashlib.sha256(f"{_hash(files)} {model_id}".encode()).hexdigest()[:16]


def docset_ids(daemon: Daemon, corpus: str) -> list[str]:
    """The docsets of a corpus."""
    return [docset["id"] for docset in daemon.get("/status")["docsets"] if docset["baseUrl"] == base_url(corpus)]


def wait_for_vectors(daemon: Daemon, ids: Sequence[str]) -> list[Any]:
    """The docsets once they are crawled and every chunk has its vector. Raises RuntimeError when that cannot be."""
    begin = told = time.monotonic()
    while True:
        docsets = [daemon.get(f"/docset/{id_}") for id_ in ids]
        counts = [docset["indexStatus"] for docset in docsets]
        pages, chunks, vectors = (sum(each[key] for each in counts) for key in ("indexedPages", "totalChunks", "embeddedChunks"))
        for docset in docsets:
            if docset["status"] == "error":
                raise RuntimeError(f"{docset['name']} cannot be indexed: {docset['message']}")
        if vectors == chunks and all(docset["status"] == "ready" for docset in docsets):
            return docsets
        now = time.monotonic()
        model = daemon.get("/status")["model"]
        if model["state"] == "unavailable" or now - begin > _LONGEST_S:
            raise RuntimeError(model["message"] or f"not indexed within {_LONGEST_S:.0f} s: {pages} pages, {chunks} chunks")
        if now - told >= _REPORT_S:
            names = ", ".join(docset["name"] for docset in docsets)
            print(f"{names}: {pages} pages, {chunks} chunks, {vectors} vectors, {now - begin:.0f} s", file=sys.stderr)
            told = now
        time.sleep(0.5)


def _delete(daemon: Daemon, corpus: str) -> None:
    for id_ in docset_ids(daemon, corpus):
        daemon.request("DELETE", f"/docset/{id_}").raise_for_status()


def _read(file: Path) -> Index:
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return Index()
    return Index(found["schema"], {name: Made(**made) for name, made in found["corpora"].items()})


def _hash(files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(_CODE)}\n".encode() + file.read_bytes())
    return total.hexdigest()[:16]
