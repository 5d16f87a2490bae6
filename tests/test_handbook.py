"""The handbook tells all there is: every setting with its default, every command and option, endpoint, field and reason."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel
from selectolax.lexbor import LexborHTMLParser

from cli.main import main
from docworker.model import Reason
from docworker.operations import OPERATIONS
from docworker.settings import Settings
from tests.conftest import FIXTURES

DOCS, SITE = FIXTURES / "handbook/docs", FIXTURES / "sites/handbook"
PAGES = sorted(DOCS.rglob("*.md"))
OF_THE_MACHINE = {"data_dir", "cache_dir", "embed_threads"}


def text_of(*names: str) -> str:
    return "\n".join((DOCS / name).read_text("utf-8") for name in names)


def api() -> str:
    return text_of("api/indexing.md", "api/retrieval.md", "api/docsets.md", "api/refresh.md", "api/sessions.md")


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield " ".join([*above, name]), command
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_table_with_its_default(name: str) -> None:
    (told,) = re.findall(rf"^\| `{name}` \| ([^|]+) \|", text_of("settings.md"), re.MULTILINE)
    default = Settings.model_fields[name].default
    written = (
        "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default).removesuffix(".0")
    )
    assert name in OF_THE_MACHINE or told.strip("`") == written


def test_no_setting_is_told_that_is_none() -> None:
    table = text_of("settings.md").partition("## All settings")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(Settings.model_fields)


@pytest.mark.parametrize("name", [name for name, _ in commands(main)])
def test_every_command_and_each_of_its_options_is_told(name: str) -> None:
    told = text_of("command-line.md", "getting-started.md", "settings.md")
    assert re.search(rf"docworker {name}\b|`{name}\b", told)
    for parameter in dict(commands(main))[name].params:
        if isinstance(parameter, click.Option):
            assert any(re.search(rf"(?<![\w-]){option}\b", told) for option in parameter.opts), parameter.opts


@pytest.mark.parametrize("endpoint", [*((each.method, each.path) for each in OPERATIONS), ("GET", "/events"), ("GET", "/health")])
def test_every_endpoint_is_told(endpoint: tuple[str, str]) -> None:
    method, path = endpoint
    shown = re.escape(path.replace("{id}", ":id"))
    assert re.search(rf"{method} {shown}(?![\w/])|\| {method} \| `{shown}`", api())


@pytest.mark.parametrize("request_", [each.request for each in OPERATIONS], ids=lambda model: model.__name__)
def test_every_field_of_a_request_is_told(request_: type[BaseModel]) -> None:
    for name, field in request_.model_fields.items():
        assert re.search(rf"[`\"]{field.alias}\b|:{name}\b", api()), field.alias


def test_every_reason_for_which_a_page_is_not_indexed_is_told() -> None:
    told = re.findall(r"^\| `([\w-]+)` \|", text_of("guide/page-states.md"), re.MULTILINE)
    assert {reason.value for reason in Reason} <= set(told)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_built_site_is_of_these_pages(page: Path) -> None:
    """Its sections with their text; `make handbook` builds it."""
    name = page.relative_to(DOCS).with_suffix("")
    built = LexborHTMLParser((SITE / ("" if name.name == "index" else name) / "index.html").read_text("utf-8"))
    written = page.read_text("utf-8")
    ids = {node.attributes["id"] for node in built.css("article [id]")}
    assert set(re.findall(r"\{ #([\w-]+) \}", written)) <= ids
    (article,) = built.css("article")
    shown = f"{article.text()} {article.text(separator=' ')}"  # labels of tabs stand side by side, colours part words of code
    prose = re.sub(r"\]\([^)]*\)|\{ #[^}]*\}|^ *```.*$|^!!! \w*|<[^>]+>", " ", written, flags=re.MULTILINE)
    assert set(re.findall(r"[^\W_]{3,}", prose)) <= set(re.findall(r"[^\W_]{3,}", shown))


def test_no_page_is_built_that_is_not_written() -> None:
    written = {SITE / ("" if name == "index" else name) / "index.html" for name in (str(p.relative_to(DOCS))[:-3] for p in PAGES)}
    assert set(SITE.rglob("*.html")) == written
