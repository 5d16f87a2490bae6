"""The import rules: who may import whom, which library has which owner, and two more one-place rules."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A room may import from the steps before its own, and from itself; never from another room of its own step.
STEPS: tuple[tuple[str, ...], ...] = (
    ("errors", "model", "folder"),
    ("urls", "settings", "words", "visible", "events"),
    ("crawl", "extract", "chunking", "embedding", "store"),
    ("indexing", "retrieval"),
    ("jobs", "sessions"),
    ("contract",),
    ("service",),
    ("operations",),
    ("api", "upkeep"),
    ("daemon",),
    ("cli",),
)
# Rooms that may import less than their step would let them.
NARROWER: dict[str, frozenset[str]] = {
    "retrieval": frozenset({"errors", "model", "urls", "settings", "words", "visible", "chunking", "embedding", "store"}),
    "contract": frozenset({"model"}),
    "cli": frozenset({"contract", "settings", "errors", "model", "folder", "daemon", "upkeep"}),
    "upkeep": frozenset({"errors", "settings", "folder", "contract", "store"}),
}
OWNERS: dict[str, frozenset[str]] = {
    "aiohttp": frozenset({"api", "daemon", "upkeep"}),
    "apsw": frozenset({"store"}),
    "bs4": frozenset({"extract"}),
    "click": frozenset({"cli"}),
    "fastembed": frozenset({"embedding"}),
    "filelock": frozenset({"daemon", "folder", "upkeep"}),
    "httpcore": frozenset({"crawl"}),
    "httpx": frozenset({"crawl", "cli"}),
    "lancedb": frozenset({"store"}),
    "markdown_it": frozenset({"extract"}),
    "markdownify": frozenset({"extract"}),
    "mdit_py_plugins": frozenset({"extract"}),
    "numpy": frozenset({"embedding", "store"}),
    "onnx": frozenset({"embedding"}),
    "onnxruntime": frozenset({"embedding"}),
    "platformdirs": frozenset({"settings"}),
    "protego": frozenset({"crawl"}),
    "idna": frozenset({"urls"}),
    "py_rust_stemmers": frozenset({"words"}),
    "pyarrow": frozenset({"store"}),
    "pydantic": frozenset({"contract", "settings", "folder", "operations", "api"}),
    "safetensors": frozenset({"embedding"}),
    "selectolax": frozenset({"extract"}),
    "tenacity": frozenset({"crawl"}),
    "trafilatura": frozenset({"extract"}),
    "webencodings": frozenset({"extract"}),
}
# (module, library) → why it is let in although it does not own it
LIBRARY_EXCEPTIONS: dict[tuple[str, str], str] = {
    (
        "docworker.service",
        "apsw",
    ): "names the type of the connection that the catalog hands to a transaction; calls nothing of it",
}
ENVIRONMENT: dict[str, str] = {
    "docworker": "forbids libraries to report home, before they are imported",
    "docworker.settings": "owns the environment",
    "cli.main": "a header's value may stand there, so that no list of processes shows it",
    "cli.client": "hands it on to the daemon that it starts",
}
CATCH_ALL: dict[str, str] = {
    "docworker.jobs": "the job runner: what a job dies of is logged and kept, a loop is started again",
    "docworker.api.app": "the HTTP middleware: a bug is logged, not shown",
    "docworker.indexing.workers": "a bug that one page brings to light must not end the crawl of the others",
    "docworker.embedding.prepare": "libraries over a network over a hub: whatever it is, there is no model",
    "docworker.embedding.loader": "onnxruntime raises kinds of its own for damaged files",
    "docworker.store.shelf": "LanceDB's panics over damaged files cannot be imported by name; all else is raised again",
}


def modules() -> dict[str, Path]:
    files = [path for folder in ("docworker", "cli") for path in (ROOT / folder).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(files)}


def room_of(module: str) -> str:
    """`docworker.crawl.fetcher` → `crawl`, `cli.main` → `cli`, `docworker` → ``."""
    top, *rest = module.split(".")
    return "cli" if top == "cli" else rest[0] if rest else ""


def allowed_rooms(room: str) -> frozenset[str]:
    step = next(number for number, rooms in enumerate(STEPS) if room in rooms)
    earlier = frozenset(name for rooms in STEPS[:step] for name in rooms)
    return NARROWER.get(room, earlier) | {room, ""}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, wherever the import stands: in functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(level=0, module=str(module), names=names):
                # `from docworker import contract` imports a room, `from docworker import __version__` does not
                rooms = {name for step in STEPS for name in step} | {name.split(".")[1] for name in modules() if "." in name}
                yield from (
                    f"{module}.{alias.name}" if module == "docworker" and alias.name in rooms else module for alias in names
                )
            case ast.ImportFrom(level=level, module=name) if level:
                yield "." * level + (name or "")
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def breaches(module: str, source: str) -> list[str]:
    """What `source`, as the text of `module`, breaks."""
    tree, room, found = ast.parse(source), room_of(module), []
    if room and room not in {name for step in STEPS for name in step}:
        return [f"{module} is in no room of the list: give it a step"]
    for name in imported(tree):
        top = name.split(".")[0]
        if not top:
            found.append(f"{module} imports {name} relatively")
        elif top in ("docworker", "cli"):
            other = room_of(name)
            if other and other not in (allowed_rooms(room) if room else frozenset()):
                found.append(f"{module} may not import {name}")
        elif (
            top not in sys.stdlib_module_names
            and room not in OWNERS.get(top, frozenset())
            and (module, top) not in LIBRARY_EXCEPTIONS
        ):
            found.append(f"{module} does not own {top}")
    if module not in ENVIRONMENT and reads_environment(tree):
        found.append(f"{module} reads the environment")
    if module not in CATCH_ALL and catches_all(tree):
        found.append(f"{module} catches every exception")
    return found


def reads_environment(tree: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names and isinstance(node.value, ast.Name) and node.value.id == "os")
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and any(alias.name in names for alias in node.names))
        for node in ast.walk(tree)
    )


def catches_all(tree: ast.AST) -> bool:
    """Whether every exception is kept somewhere; undoing something and raising it again is not that."""

    def is_all(caught: ast.expr | None) -> bool:
        match caught:
            case None | ast.Name(id="Exception" | "BaseException"):
                return True
            case ast.Tuple(elts=kinds):
                return any(is_all(kind) for kind in kinds)
        return False

    def goes_on(body: list[ast.stmt]) -> bool:
        return isinstance(body[-1], ast.Raise) and body[-1].exc is None

    return any(isinstance(node, ast.ExceptHandler) and is_all(node.type) and not goes_on(node.body) for node in ast.walk(tree))


@pytest.mark.parametrize("module", modules())
def test_a_module_keeps_the_import_rules(module: str) -> None:
    assert breaches(module, modules()[module].read_text("utf-8")) == []


def test_the_modules_are_found() -> None:
    assert {"docworker", "docworker.urls", "docworker.store.shelf", "docworker.api.app", "cli.main"} <= modules().keys()


def test_every_exception_to_the_rules_is_still_needed() -> None:
    trees = {module: ast.parse(path.read_text("utf-8")) for module, path in modules().items()}
    for module, library in LIBRARY_EXCEPTIONS:
        assert library in {name.split(".")[0] for name in imported(trees[module])}
    assert [module for module in ENVIRONMENT if not reads_environment(trees[module])] == []
    assert [module for module in CATCH_ALL if not catches_all(trees[module])] == []


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("docworker.urls", "import docworker.settings", "may not import docworker.settings"),
        ("docworker.model", "from docworker.errors import NotFound", "may not import docworker.errors"),
        ("docworker.crawl.x", "from docworker.store import pages", "may not import docworker.store"),
        ("docworker.chunking", "from docworker import store", "may not import docworker.store"),
        ("docworker.retrieval.x", "from docworker.indexing.decide import decide", "may not import docworker.indexing"),
        ("docworker.indexing.x", "def f():\n    import docworker.retrieval", "may not import docworker.retrieval"),
        ("docworker.contract", "from docworker.errors import NotFound", "may not import docworker.errors"),
        ("docworker.store.x", "if TYPE_CHECKING:\n    from docworker.jobs import Jobs", "may not import docworker.jobs"),
        ("docworker.daemon", "from cli.main import main", "may not import cli.main"),
        ("cli.main", "from docworker.store.catalog import Catalog", "may not import docworker.store.catalog"),
        ("docworker", "from docworker.urls import canonical", "may not import docworker.urls"),
        ("docworker.urls", "from .settings import load", "relatively"),
        ("docworker.attic", "", "is in no room"),
        ("docworker.indexing.x", "import lancedb", "does not own lancedb"),
        ("docworker.indexing.x", "importlib.import_module('lancedb.index')", "does not own lancedb"),
        ("docworker.retrieval.x", "from numpy.typing import NDArray", "does not own numpy"),
        ("docworker.crawl.x", "import requests", "does not own requests"),
        ("docworker.crawl.x", "import os\nproxy = os.environ['PROXY']", "reads the environment"),
        ("docworker.crawl.x", "from os import getenv", "reads the environment"),
        ("docworker.crawl.x", "try:\n    f()\nexcept (OSError, Exception):\n    pass", "catches every exception"),
        ("docworker.crawl.x", "try:\n    f()\nexcept:\n    pass", "catches every exception"),
    ],
)
def test_the_checker_sees_a_breach(module: str, source: str, expected: str) -> None:
    found = breaches(module, source)
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("docworker.store.x", "import apsw, json\nfrom docworker.store import pages\nfrom docworker import SCHEMA_VERSION"),
        ("docworker.indexing.x", "from docworker.crawl import fetcher\nfrom docworker.chunking import chunk"),
        ("cli.x", "import click\nfrom docworker import __version__\nfrom docworker.settings import load"),
        ("docworker.crawl.x", "try:\n    f()\nexcept (OSError, ValueError):\n    pass\nenviron = {}"),
        ("docworker.store.x", "try:\n    f()\nexcept BaseException:\n    undo()\n    raise"),
    ],
)
def test_the_checker_lets_pass_what_is_allowed(module: str, source: str) -> None:
    assert breaches(module, source) == []
