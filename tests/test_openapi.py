"""What docworker says of its API: /openapi.json is valid, complete and true of a real daemon; /docs runs no code but its own."""

import base64
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import ValidationError
from schemathesis.config import SchemathesisConfig

from docworker import __version__
from docworker.api.app import _STATUS, Desk, application
from docworker.api.openapi import document
from docworker.contract import NOT_BLANK, RetrieveRequest
from docworker.operations import OPERATIONS
from tests.daemon import Daemon
from tests.site import Site

DOCUMENT = document(_STATUS)
DESCRIBED: list[tuple[str, str]] = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
EXAMPLES = int(os.environ.get("EXAMPLES", "0"))  # of each operation, for a long run (make fuzz); other ones each time
PAGE = "<html lang=en><title>{0}</title><h1>{0}</h1><p>The frobnicator has a quota. <a href=/docs/b>b</a>"
# What is right although schemathesis takes it for wrong: a site that fails is the site's fault, a daemon may be busy, and a body
# whose fields are each within their bounds may be over the limit of all of them together.
EXPECTED = {
    "checks": {
        "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "502", "503"]},
        "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "413", "502", "503"]},
        "negative_data_rejection": {"expected-statuses": ["400", "403", "404", "405", "413", "415"]},
    }
}


def described(path: str, method: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = DOCUMENT["paths"][path][method]
    return found


def is_endless(path: str, method: str) -> bool:
    """Whether an operation answers with events for as long as one listens."""
    return "text/event-stream" in described(path, method)["responses"]["200"].get("content", {})


# -- the document


def test_the_document_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []
    assert DOCUMENT["info"]["version"] == __version__
    assert DOCUMENT["info"]["license"]["identifier"] == "MIT"
    assert DOCUMENT["servers"] == [{"url": "/"}]


def test_every_route_is_described_and_nothing_else() -> None:
    app = application(Desk("i", "127.0.0.1", lambda: 0))
    routes = {(route.resource.canonical, route.method.lower()) for route in app.router.routes() if route.resource}
    assert {route for route in routes if route[1] != "head"} == set(DESCRIBED)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_is_described_by_its_row(operation: Any) -> None:
    told = described(operation.path, operation.method.lower())
    assert told["operationId"] == operation.name
    assert " ".join(operation.use_case().__doc__.split()).startswith(told["summary"].split("`")[0])
    assert "Raises" not in told["summary"] + told.get("description", "")
    fields = {info.alias for info in operation.request.model_fields.values()}
    if operation.method == "POST":
        reference = told["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["properties"].keys() == fields
    else:
        assert {parameter["name"] for parameter in told.get("parameters", [])} == fields
    reference = told["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    keys = {info.alias for info in operation.response.model_fields.values()}
    answer = DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
    assert answer["properties"].keys() == set(answer["required"]) == keys


@pytest.mark.parametrize(("path", "method"), DESCRIBED)
def test_every_error_is_the_one_sentence(path: str, method: str) -> None:
    errors = {status: answer for status, answer in described(path, method)["responses"].items() if status != "200"}
    assert "403" in errors
    for status, answer in errors.items():
        assert answer["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        assert answer["description"].endswith(".")
        assert ("Retry-After" in answer.get("headers", {})) == (status == "503")


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/index", "post", {"200", "400", "403", "408", "413", "415", "502", "503"}),
        ("/retrieve", "post", {"200", "400", "403", "404", "408", "413", "415", "503"}),
        ("/refresh", "post", {"200", "400", "403", "404", "408", "409", "413", "415", "503"}),
        ("/docset/{id}", "delete", {"200", "400", "403", "404", "503"}),
        ("/why", "get", {"200", "400", "403", "404", "503"}),
        ("/health", "get", {"200", "403"}),
        ("/events", "get", {"200", "400", "403", "404", "503"}),
        ("/session/heartbeat", "post", {"200", "400", "403", "404", "408", "413", "415", "503"}),
    ],
)
def test_the_statuses_are_those_that_can_be_answered(path: str, method: str, statuses: set[str]) -> None:
    assert described(path, method)["responses"].keys() - {"401"} == statuses


def test_the_document_speaks_the_names_of_json() -> None:
    def descriptions(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (text for key, text in value.items() if key in ("description", "summary") and isinstance(text, str))
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from descriptions(each)

    found = list(descriptions(DOCUMENT))
    assert len(found) > 50
    assert [text for text in found if re.search(r"`[a-z]+_[a-z_]+`|[^\n]\n[^\n]", text)] == []


def test_every_object_is_closed_and_every_number_has_its_bounds() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert [name for name, schema in schemas.items() if schema["type"] == "object" and schema["additionalProperties"]] == []
    answers = {name: schema for name, schema in schemas.items() if "properties" in schema and not name.endswith("Request")}
    assert [name for name, schema in answers.items() if set(schema["required"]) != schema["properties"].keys()] == []
    null = {"type": "null"}
    fields = schemas["RetrieveRequest"]["properties"]
    assert fields["topK"]["anyOf"] == [{"type": "integer"}, null]  # clamped, not refused
    assert fields["maxTotalChars"] == fields["maxTotalChars"] | {"anyOf": [{"type": "integer", "minimum": 1}, null]}
    assert fields["maxTotalChars"]["default"] == 32_000
    assert schemas["IndexRequest"]["properties"]["maxPages"]["anyOf"] == [
        {"type": "integer", "minimum": 1, "maximum": 1_000_000}, null
    ]  # fmt: skip
    (limit,) = [each for each in described("/docset/{id}/pages", "get")["parameters"] if each["name"] == "limit"]
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}
    assert (limit["in"], limit["required"]) == ("query", False)
    assert described("/refresh", "post")["requestBody"]["required"] is True
    assert described("/refresh-all", "post")["requestBody"]["required"] is False


def test_white_space_is_to_the_pattern_what_it_is_to_the_contract() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    suspects = [each for each in characters if each.isspace() or (not each.isprintable() and ord(each) < 0x1_0000)]
    assert len(suspects) > 50
    for character in suspects:
        try:
            accepted = bool(RetrieveRequest.model_validate({"query": character}))
        except ValidationError:
            accepted = False
        assert bool(re.search(NOT_BLANK, character)) == accepted, hex(ord(character))


# -- the document and a real daemon


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site({"/brief": PAGE.format("Brief"), "/docs/a": PAGE.format("A"), "/docs/b": PAGE.format("B")}) as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    """One daemon for all requests that are made up; it stays when the last session ends."""
    folder = tmp_path_factory.mktemp("openapi") / "data"
    with Daemon(folder, cache_dir, request_attempts=1, keep_alive="true", log_level="warning") as daemon:
        yield daemon
        assert not re.search("ERROR|Traceback", daemon.log()), daemon.log()[-4_000:]


@pytest.fixture(scope="module")
def docset(running: Daemon, site: Site) -> str:
    """A docset with pages, chunks and vectors."""
    made = running.post("/index", baseUrl=site.url, seedSlug="/docs/a", allowedPaths=["/docs"])
    running.wait_ready(made["docsetId"], vectors=True)
    return str(made["docsetId"])


@dataclass(frozen=True)
class Home:
    """Turns what is made up and right into what there is here, else it would all be refused alike: 404, 502, nothing found.

    Which, goes by the length of a text, so that the same request is always made of it.
    """

    daemon: Daemon
    site: Site
    docset: str

    def settle(self, case: Any) -> None:
        """Change a request that is right by the document; one that is meant to be wrong stays as it is."""
        if not case.meta.generation.mode.is_positive:
            return
        for place in (case.body, case.query, case.path_parameters):
            if isinstance(place, dict):
                for name, value in place.items():
                    place[name] = self._known(name, value)
        if case.operation.label == "DELETE /docset/{id}" and case.path_parameters["id"] == self.docset:
            case.path_parameters["id"] = self._to_delete()

    def _known(self, name: str, value: Any) -> Any:
        match name, value:
            case ("id" | "docsetId", str()):
                return value if len(value) % 2 else self.docset
            case "docsetIds", [*ids]:
                return ids if len(ids) % 2 else [self.docset] * len(ids)
            case "baseUrl", str():
                return self.site.url
            case "url", str():
                return self.site.url + self._path(value)
            case "seedSlug", str():
                return self._path(value)
            case "allowedPaths", [*paths]:
                return ["/docs", *(self._path(each) for each in paths[:-1])]
            case "query", str():
                return value if len(value) % 2 else "What quota has the frobnicator?"
        return value

    def _path(self, text: str) -> str:
        return "/docs/" + (quote(text[:50], safe="").replace(".", "_") if len(text) % 2 else "a")

    def _to_delete(self) -> str:
        made = self.daemon.post("/index", baseUrl=self.site.url, seedSlug="/brief", waitForSeed=False)
        return str(made["docsetId"])


api = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig.from_dict(EXPECTED))


def fuzzing(label: str) -> Any:
    """The test of one operation: each has a name of its own, by which tests are handed out to processes."""

    @api.include(name=label).parametrize()
    @settings(
        max_examples=EXAMPLES or 30,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def does_what_the_document_says(case: Any, running: Daemon, site: Site, docset: str) -> None:
        Home(running, site, docset).settle(case)
        case.call_and_validate(base_url=running.url)

    return does_what_the_document_says


for _path, _method in DESCRIBED:
    if not is_endless(_path, _method):
        _name = described(_path, _method)["operationId"].replace("-", "_")
        globals()[f"test_the_daemon_does_as_told_{_name}"] = fuzzing(f"{_method.upper()} {_path}")


def test_the_daemon_serves_the_document(running: Daemon) -> None:
    response = running.request("GET", "/openapi.json", headers={"Origin": running.url})
    assert response.headers["content-type"].startswith("application/json")
    assert response.json() == DOCUMENT


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_unknown_parameter_is_refused_also_beside_a_body(running: Daemon, operation: Any) -> None:
    required = {str(info.alias): "http://h/" for info in operation.request.model_fields.values() if info.is_required()}
    body, query = (required, {}) if operation.method == "POST" else (None, required)
    query = {name: value for name, value in query.items() if f"{{{name}}}" not in operation.path} | {"nonsense": "1"}
    response = running.request(operation.method, operation.path.replace("{id}", "x"), json=body, params=query)
    assert response.status_code == 400
    assert response.json()["error"].startswith("nonsense: ")


def test_the_longest_texts_fit_into_a_query_string(running: Daemon) -> None:
    """Each of 2,048 characters that are twelve bytes long in a URL, with others beside them."""
    longest = "\U0001d4b3" * 2_048
    for path, query in (
        (f"/docset/{longest}", {}),
        ("/status", {"docsetId": longest}),
        ("/why", {"url": "http://h/", "docsetId": longest}),
    ):
        response = running.request("GET", path, params=query)
        assert (response.status_code, list(response.json())) == (404, ["error"])
        assert "no docset '\U0001d4b3\U0001d4b3" in response.json()["error"]


# -- the page


class Parts(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_may_run_its_own_style_and_script_alone(running: Daemon) -> None:
    response = running.request("GET", "/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = hashlib.sha256(text.encode()).digest()
        assert policy.pop(f"{tag}-src") == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert policy == dict.fromkeys(["default-src", "base-uri", "form-action", "frame-ancestors"], "'none'") | {
        "connect-src": "'self'",
        "img-src": "data:",
    }


def test_the_page_takes_nothing_from_elsewhere_and_shows_nothing_as_html(running: Daemon) -> None:
    html = running.request("GET", "/docs").text
    parts = Parts(html).found
    assert {tag for tag, _ in parts} >= {"style", "script", "main", "noscript"}
    assert {attributes[name] for _, attributes in parts for name in ("href", "src") if name in attributes} == {
        "data:,", "/openapi.json"
    }  # fmt: skip
    assert [name for _, attributes in parts for name in attributes if name.startswith("on") or name == "style"] == []
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://|@import", html)
    assert not re.search(r"localStorage|sessionStorage|document\.cookie", html)


async def test_both_are_there_before_the_stores_are() -> None:
    async with TestClient(TestServer(application(Desk("i", "127.0.0.1", lambda: 0)))) as client:
        assert await (await client.get("/openapi.json")).json() == DOCUMENT
        assert (await client.get("/docs")).status == 200
        assert (await client.get("/status")).status == 503
        assert (await client.get("/docs", headers={"Host": "evil.example"})).status == 403
