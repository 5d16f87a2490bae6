"""The user's API reference against a real daemon: every table, every JSON example and every curl command of fixtures/spec."""

import itertools
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from docworker.contract import MAX_QUERY_CHARS, RetrieveRequest
from docworker.model import DocsetState, PageState
from docworker.operations import OPERATIONS
from tests.conftest import FIXTURES
from tests.daemon import Daemon
from tests.site import Site

PORT = 7432
Endpoint = tuple[str, str]

# The reference runs its blocks together: what begins one may stand right behind the end of the one before.
_BEGINS = (
    r"(?:GET|POST|DELETE) /[\w/:-]+|Endpoints|Request|Response|Parameters|Query Parameters|Response Fields|Snippet Object"
    r"|Example|Diversity Filtering|Character Budget|Error Responses"
)


@dataclass(frozen=True)
class Part:
    """What the reference says of one endpoint; `tables` by their heading, each a list of rows by column."""

    request: Any
    response: Any
    tables: Mapping[str, list[Mapping[str, str]]]
    curls: tuple[str, ...]

    @property
    def fields(self) -> list[Mapping[str, str]]:
        """The rows of its request's table; a path's `id` is no field of that."""
        rows = [*self.tables.get("Parameters", ()), *self.tables.get("Query Parameters", ())]
        return [{**row, "Field": row.get("Field") or row["Parameter"]} for row in rows if row.get("Parameter") != "id"]


@dataclass
class Reference:
    """All of it. `endpoints` is the table at its beginning."""

    endpoints: list[Endpoint] = field(default_factory=list)
    parts: dict[Endpoint, Part] = field(default_factory=dict)
    error: Any = None


def parse(text: str) -> Reference:
    """Take the reference apart."""
    text = re.sub(rf"(?<=\S)(?=(?:{_BEGINS})\n)", "\n", text)
    beginning, *sections = re.split(r"^(?=(?:GET|POST|DELETE) /\S+$)", text, flags=re.MULTILINE)
    last, _, errors = sections[-1].partition("\nError Responses\n")
    found = Reference(error=example("in this format:", errors))
    found.endpoints = [(row["Method"], row["Endpoint"]) for row in tables(beginning)["Endpoints"]]
    for section in (*sections[:-1], last):
        method, path = section.split("\n", 1)[0].split()
        found.parts[method, path] = Part(
            request=example("Request", section),
            response=example("Response", section),
            tables=tables(section),
            curls=tuple(re.findall(r"^curl (?:\\\n|'[^']*'|[^'\n])+", section, re.MULTILINE)),
        )
    return found


def example(heading: str, text: str) -> Any:
    """The JSON right below a heading, None without."""
    begin = re.search(rf"^[^\n]*{re.escape(heading)}\n(?=\{{)", text, re.MULTILINE)
    return None if begin is None else json.JSONDecoder().raw_decode(text, begin.end())[0]


def tables(text: str) -> dict[str, list[Mapping[str, str]]]:
    """The rows of every table by the line above it, or the last heading above that."""
    found: dict[str, list[Mapping[str, str]]] = {}
    heading, columns = "", [""]
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if re.fullmatch(_BEGINS, line):
            heading = line
        elif line.startswith("| "):
            columns = cells
        elif len(cells) == len(columns) > 1:
            found.setdefault(heading, []).append(dict(zip(columns, cells, strict=True)))
    return found


REFERENCE = parse((FIXTURES / "spec" / "api-reference.md").read_text("utf-8"))
CONTRACT = (FIXTURES / "spec" / "contract.md").read_text("utf-8")
SERVED = {(operation.method, operation.path.replace("{", ":").replace("}", "")) for operation in OPERATIONS} | {
    ("GET", "/health")
}
FIELDS = [(endpoint, row) for endpoint, part in REFERENCE.parts.items() for row in part.fields]
ENDPOINTS = list(REFERENCE.parts)


def parameters(endpoints: list[Endpoint]) -> list[Any]:
    """Endpoints to be tested one by one."""
    return [pytest.param(each, id=" ".join(each)) for each in endpoints]


def test_the_reference_is_read_whole() -> None:
    assert len(REFERENCE.endpoints) == 12
    assert list(REFERENCE.parts) == REFERENCE.endpoints
    assert REFERENCE.error == {"error": "Error message here"}
    assert all(part.response for part in REFERENCE.parts.values())
    assert {path for (method, path), part in REFERENCE.parts.items() if part.request} == {
        path for method, path in REFERENCE.endpoints if method == "POST"
    }
    assert sum(len(part.curls) for part in REFERENCE.parts.values()) == 7
    assert {path: len(part.fields) for (_, path), part in REFERENCE.parts.items() if part.fields} == {
        "/index": 5, "/retrieve": 6, "/status": 2, "/refresh": 5, "/docset/:id/pages": 3
    }  # fmt: skip
    retrieve = REFERENCE.parts["POST", "/retrieve"].tables
    assert (len(retrieve["Response Fields"]), len(retrieve["Snippet Object"])) == (3, 6)


# -- a daemon and a site as the reference has them

TOPICS = {
    "getting-started": ("Getting Started", "Getting started takes a minute: install the framework and run it."),
    "server-components": (
        "Server Components",
        "Server Components let you write pages that are rendered on the server. How to use them:",
    ),
    "authentication": ("Authentication", "Authentication tells who a visitor is, by a password or by a token."),
}
NO_INTERNET = """
import socket

look_up = socket.getaddrinfo


def getaddrinfo(host, *arguments, **more):
    if host not in ("localhost", "127.0.0.1", b"127.0.0.1", None):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return look_up(host, *arguments, **more)


socket.getaddrinfo = getaddrinfo
"""


def page(title: str, text: str) -> str:
    links = "".join(f"<li><a href=/docs/{name}>{name}</a>" for name in TOPICS)
    refused = f"Beyond forty requests a minute, {title} is refused until the minute is over. "
    more = f"<p>{'There is more to say, but not here. ' * 20}</p><h2 id=limits>Limits of {title}</h2><p>{refused * 12}</p>"
    return f"<html lang=en><title>{title}</title><main><h1>{title}</h1><p>{text}</p>{more}</main><nav><ul>{links}</ul></nav>"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site({f"/docs/{name}": page(*topic) for name, topic in TOPICS.items()}) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    """At the reference's port if that is free, and as if there were no internet."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "sitecustomize.py").write_text(NO_INTERNET, "utf-8")
    for port in (PORT, 0):
        running = Daemon(folder / "data", cache_dir, request_attempts=1, port=port, keep_alive="true")
        running.environment["PYTHONPATH"] = str(folder)
        try:
            running.start()
        except RuntimeError:  # somebody else listens there
            if port == 0:
                raise
        else:
            break
    yield running
    running.end()


@pytest.fixture(scope="module")
def docset(daemon: Daemon, site: Site) -> str:
    """The id of the docset of the reference's own request, with the site in the place of nextjs.org."""
    body = REFERENCE.parts["POST", "/index"].request | {"baseUrl": site.url}
    made = daemon.post("/index", **body)
    daemon.wait_ready(made["docsetId"], vectors=True)
    return str(made["docsetId"])


@pytest.fixture
def request_of(daemon: Daemon, site: Site, docset: str) -> "RequestOf":
    return RequestOf(daemon, site, docset)


@dataclass(frozen=True)
class RequestOf:
    """Sends the reference's example of a request, with the site and its docset in the place of what it names."""

    daemon: Daemon
    site: Site
    docset: str

    def fields(self, endpoint: Endpoint) -> dict[str, Any]:
        own = {"docsetId": self.docset, "docsetIds": [self.docset], "baseUrl": self.site.url}
        given = REFERENCE.parts[endpoint].request or {}
        return {name: own.get(name, value) for name, value in given.items()}

    def send(self, endpoint: Endpoint, fields: Mapping[str, Any] | None = None) -> httpx.Response:
        method, path = endpoint
        fields = self.fields(endpoint) if fields is None else fields
        arguments: dict[str, Any] = {"json": fields} if method == "POST" else {"params": fields}
        return self.daemon.request(method, path.replace(":id", self.docset), **arguments)

    def prepare(self, endpoint: Endpoint) -> None:
        """Bring about what the example of a response takes for granted."""
        if endpoint in (("GET", "/sessions"), ("POST", "/session/unregister")):
            assert self.send(("POST", "/session/register")).status_code == 200


def assert_like(answer: Any, told: Any, where: str = "answer") -> None:
    """Every key of the example with a value of the same JSON type; `null` in it stands for any; lists are not empty."""
    if isinstance(told, dict):
        assert isinstance(answer, dict), where
        assert told.keys() <= answer.keys(), f"{where} lacks {told.keys() - answer.keys()}"
        for key, value in told.items():
            assert_like(answer[key], value, f"{where}.{key}")
    elif isinstance(told, list):
        assert isinstance(answer, list), where
        assert answer, f"{where} is empty"
        for number, each in enumerate(answer):
            assert_like(each, told[0], f"{where}[{number}]")
    elif told is not None:
        assert type(answer) is type(told), f"{where} is {answer!r}, the reference has {told!r}"


def assert_refused(response: httpx.Response, status: int, match: str) -> None:
    """The format of every error: exactly `{"error": sentence}`."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body.keys() == REFERENCE.error.keys()
    assert_like(body, REFERENCE.error)
    assert re.search(match, body["error"]), body["error"]


# -- endpoints and examples


@pytest.mark.parametrize("endpoint", parameters(REFERENCE.endpoints))
def test_every_endpoint_of_the_reference_is_served(endpoint: Endpoint) -> None:
    assert endpoint in SERVED


@pytest.mark.parametrize("endpoint", parameters([each for each in ENDPOINTS if each[0] != "DELETE"]))
def test_an_answer_has_all_that_the_wantedhas(request_of: RequestOf, endpoint: Endpoint) -> None:
    request_of.prepare(endpoint)
    response = request_of.send(endpoint)
    assert response.status_code == 200, response.text
    assert_like(response.json(), REFERENCE.parts[endpoint].response)


def test_a_deletion_is_answered_as_in_the_example(daemon: Daemon, docset: str) -> None:
    with Site({"/docs": page("Brief", "Soon gone.")}) as brief:
        made = daemon.post("/index", baseUrl=brief.url, seedSlug="/docs")["docsetId"]
        response = daemon.request("DELETE", f"/docset/{made}")
        assert response.status_code == 200
        assert_like(response.json(), REFERENCE.parts["DELETE", "/docset/:id"].response)
        assert response.json() == {"success": True, "docsetId": made}
        assert_refused(daemon.request("DELETE", f"/docset/{made}"), 404, made)


@pytest.mark.parametrize("endpoint", parameters([each for each in ENDPOINTS if each[1] != "/health"]))
def test_every_error_has_the_format_of_the_reference(request_of: RequestOf, endpoint: Endpoint) -> None:
    assert_refused(request_of.send(endpoint, request_of.fields(endpoint) | {"nonsense": "x"}), 400, "^nonsense: unknown field")
    method, path = endpoint
    wrong = request_of.daemon.request("PATCH", path)
    assert_refused(wrong, 405, "PATCH")
    assert method in wrong.headers["Allow"].split(", ")


@pytest.mark.parametrize("table", ["Response Fields", "Snippet Object"])
def test_the_tables_of_what_retrieve_answers_hold(request_of: RequestOf, table: str) -> None:
    answer = request_of.send(("POST", "/retrieve")).json()
    kinds = {"array": list, "number": int, "boolean": bool, "string": str}
    for row in REFERENCE.parts["POST", "/retrieve"].tables[table]:
        for holder in [answer] if table == "Response Fields" else [result["snippet"] for result in answer["results"]]:
            assert type(holder[row["Field"]]) is kinds[row["Type"]], row


def test_a_snippet_is_as_the_example_shows_it(request_of: RequestOf) -> None:
    """`formatted` is built of the other fields, in the order of the example."""
    told = REFERENCE.parts["POST", "/retrieve"].response["results"][0]["snippet"]
    lines = [line.split(" ")[0] for line in told["formatted"].split("\n")[:4]]
    assert lines == ["##", "Source:", "Section:", ""]
    query = {"query": "authentication refused beyond forty requests a minute"}
    results = request_of.send(("POST", "/retrieve"), query).json()["results"]
    assert "Limits of Authentication" in [result["snippet"]["breadcrumb"] for result in results]
    for snippet in (result["snippet"] for result in results):
        section = f"Section: {snippet['breadcrumb']}\n" if snippet["breadcrumb"] else ""
        assert snippet["formatted"] == f"## {snippet['title']}\nSource: {snippet['url']}\n{section}\n{snippet['content']}"
        assert snippet["charCount"] == len(snippet["formatted"])


# -- the tables of requests

WRONG: Mapping[str, list[Any]] = {
    "string": [5, True, ["x"], {}],
    "number": ["5", True, [5], {}],
    "boolean": ["true", 1, [True]],
    "string[]": ["x", [5], {}, True],
}
WRONG_IN_QUERY: Mapping[str, list[Any]] = {"string": [], "number": ["many", "1.5"], "boolean": ["perhaps", "2"]}
RIGHT_IN_QUERY: Mapping[str, Any] = {"includeStuck": "true", "status": "indexed", "limit": 5, "offset": 1}


def row_id(value: object) -> str | None:
    return f"{value['Field']}" if isinstance(value, Mapping) else " ".join(value) if isinstance(value, tuple) else None


@pytest.mark.parametrize(("endpoint", "row"), FIELDS, ids=row_id)
def test_a_field_is_required_or_optional_as_told(request_of: RequestOf, endpoint: Endpoint, row: Mapping[str, str]) -> None:
    name, fields = row["Field"], request_of.fields(endpoint)
    if endpoint == ("POST", "/refresh"):  # one of the two is required
        fields |= {"docsetId": request_of.docset, "baseUrl": request_of.site.url}
    without = {key: value for key, value in fields.items() if key != name}
    if row.get("Required") == "Yes":
        assert_refused(request_of.send(endpoint, without), 400, f"^{name}: required")
        assert_refused(request_of.send(endpoint, fields | {name: None}), 400, f"^{name}: ")
    else:
        assert request_of.send(endpoint, without).status_code == 200
        if endpoint[0] == "POST":
            assert request_of.send(endpoint, fields | {name: None}).status_code == 200  # as leaving it out


@pytest.mark.parametrize(("endpoint", "row"), FIELDS, ids=row_id)
def test_a_field_has_the_type_that_is_told(request_of: RequestOf, endpoint: Endpoint, row: Mapping[str, str]) -> None:
    name, fields = row["Field"], request_of.fields(endpoint)
    right = {**RIGHT_IN_QUERY, "docsetId": request_of.docset, "baseUrl": request_of.site.url, **fields}[name]
    assert request_of.send(endpoint, fields | {name: right}).status_code == 200
    for wrong in (WRONG if endpoint[0] == "POST" else WRONG_IN_QUERY)[row["Type"]]:
        assert_refused(request_of.send(endpoint, fields | {name: wrong}), 400, rf"^{name}(\.0)?: expected")


@pytest.mark.parametrize("row", REFERENCE.parts["POST", "/retrieve"].fields, ids=row_id)
def test_a_default_of_retrieve_is_the_one_told(request_of: RequestOf, row: Mapping[str, str]) -> None:
    endpoint, name = ("POST", "/retrieve"), row["Field"]
    everything = [each["id"] for each in request_of.daemon.get("/status")["docsets"]]
    operation = next(each for each in OPERATIONS if each.name == "retrieve")
    (info,) = [each for each in operation.request.model_fields.values() if each.alias == name]
    if row["Default"] == "-":
        assert info.is_required()
        return
    told = everything if row["Default"] == "All" else json.loads(row["Default"])
    query = {"query": "getting started with authentication in server components"}
    assert request_of.send(endpoint, query).json() == request_of.send(endpoint, query | {name: told}).json()
    if row["Default"] != "All":
        assert info.default == told


def test_top_k_is_clamped_as_told(request_of: RequestOf) -> None:
    endpoint = ("POST", "/retrieve")
    (row,) = [each for each in REFERENCE.parts[endpoint].fields if each["Field"] == "topK"]
    (bounds,) = re.findall(r"clamped (\d+)-(\d+)", row["Description"])
    lowest, highest = map(int, bounds)
    query = {"query": "getting started with authentication in server components", "maxChunksPerPage": 100}
    for beyond, bound in ((lowest - 1, lowest), (-(10**9), lowest), (highest + 1, highest), (10**9, highest)):
        answers = [request_of.send(endpoint, query | {"topK": top_k}) for top_k in (beyond, bound)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
    taken = [RetrieveRequest.model_validate({"query": "q", "topK": top_k}).top_k for top_k in (lowest - 1, highest + 1)]
    assert taken == [lowest, highest]
    assert len(request_of.send(endpoint, query | {"topK": lowest - 1}).json()["results"]) == lowest
    assert len(request_of.send(endpoint, query | {"topK": highest}).json()["results"]) > lowest


@pytest.mark.parametrize("row", REFERENCE.parts["GET", "/docset/:id/pages"].fields, ids=row_id)
def test_the_bounds_of_a_listing_are_those_told(request_of: RequestOf, row: Mapping[str, str]) -> None:
    endpoint, name = ("GET", "/docset/:id/pages"), row["Field"]
    for default in re.findall(r"default: (\d+)", row["Description"]):
        assert request_of.send(endpoint, {}).json()[name] == int(default)
        assert request_of.send(endpoint, {}).json() == request_of.send(endpoint, {name: int(default)}).json()
    for most in re.findall(r"max: (\d+)", row["Description"]):
        assert request_of.send(endpoint, {name: int(most)}).json()[name] == int(most)
        assert_refused(request_of.send(endpoint, {name: int(most) + 1}), 400, f"^{name}: .*{most}")
    assert name == "status" or "default" in row["Description"]


def test_a_listing_is_filtered_by_status_and_cut_as_told(request_of: RequestOf) -> None:
    endpoint = ("GET", "/docset/:id/pages")
    whole = request_of.send(endpoint, {}).json()
    assert (whole["total"], {each["status"] for each in whole["pages"]}) == (len(TOPICS), {"indexed"})
    assert request_of.send(endpoint, {"status": "error"}).json()["total"] == 0
    cut = request_of.send(endpoint, {"limit": 1, "offset": 1}).json()
    assert cut == {"pages": whole["pages"][1:2], "total": len(TOPICS), "limit": 1, "offset": 1}


def test_the_budgets_of_retrieve_hold(request_of: RequestOf) -> None:
    endpoint = ("POST", "/retrieve")
    query = {"query": "getting started with authentication in server components", "topK": 10}
    results = request_of.send(endpoint, query | {"maxChunksPerPage": 1}).json()["results"]
    assert len({result["pageId"] for result in results}) == len(results) > 1
    whole = request_of.send(endpoint, query).json()
    assert (whole["truncated"], whole["totalChars"]) == (False, sum(each["snippet"]["charCount"] for each in whole["results"]))
    small = request_of.send(endpoint, query | {"maxTotalChars": whole["totalChars"] - 1}).json()
    assert small["truncated"]
    assert 0 < small["totalChars"] < whole["totalChars"]
    bare = request_of.send(endpoint, query | {"formatSnippets": False}).json()
    assert [each["snippet"] for each in bare["results"]] == [None] * len(bare["results"])


def test_stuck_pages_are_detailed_when_asked(request_of: RequestOf) -> None:
    (asked,) = request_of.send(("GET", "/status"), {"docsetId": request_of.docset, "includeStuck": "true"}).json()["docsets"]
    assert asked["indexStatus"]["stuckPageDetails"] == []


def test_refresh_goes_by_age_and_force_as_told(request_of: RequestOf) -> None:
    endpoint = ("POST", "/refresh")
    assert_refused(request_of.send(endpoint, {}), 400, "docsetId")
    wanted = request_of.fields(endpoint)
    assert wanted["maxAge"] == 24
    assert request_of.send(endpoint, wanted).json()["refreshed"] is False
    for more in ({"maxAge": 0}, {"force": True}, {"force": True, "fullReindex": True}):
        answer = request_of.send(endpoint, wanted | more).json()
        assert_like(answer, REFERENCE.parts[endpoint].response)
        assert answer["refreshed"] is True
        told = request_of.daemon.get(f"/docset/{request_of.docset}")["indexStatus"]
        assert sum(answer["incremental"].values()) == told["totalPages"]
        wait_refreshed(request_of)
    by_url = request_of.send(endpoint, {"baseUrl": request_of.site.url}).json()
    assert (by_url["docsetId"], by_url["refreshed"]) == (request_of.docset, False)
    everything = request_of.send(("POST", "/refresh-all"), {"force": True}).json()
    assert everything["refreshed"] == everything["total"] == len(everything["results"])
    wait_refreshed(request_of)


def wait_refreshed(request_of: RequestOf) -> None:
    """Wait until no refresh is under way."""
    until = time.monotonic() + 60
    while request_of.daemon.get(f"/docset/{request_of.docset}")["refresh"] is not None:
        assert time.monotonic() < until
        time.sleep(0.05)


# -- sessions


def test_sessions_come_and_go_as_in_the_examples(request_of: RequestOf) -> None:
    register, unregister, listing = ("POST", "/session/register"), ("POST", "/session/unregister"), ("GET", "/sessions")
    registered = request_of.send(register).json()
    assert registered["session"]["id"] == request_of.fields(register)["sessionId"]
    assert registered["session"]["clientType"] == request_of.fields(register)["clientType"]
    assert registered["totalSessions"] == 1
    again = request_of.send(register).json()
    assert (again["session"]["connectedAt"], again["totalSessions"]) == (registered["session"]["connectedAt"], 1)
    told = request_of.send(listing).json()
    assert (told["count"], [each["id"] for each in told["sessions"]]) == (1, [registered["session"]["id"]])
    gone = request_of.send(unregister).json()
    assert (gone["existed"], gone["remainingSessions"]) == (True, 0)
    assert request_of.send(unregister).json()["existed"] is False
    assert request_of.send(listing).json()["count"] == 0


@pytest.mark.parametrize("path", ["/session/register", "/session/unregister"])
def test_the_fields_of_sessions_are_texts(request_of: RequestOf, path: str) -> None:
    endpoint = ("POST", path)
    fields = request_of.fields(endpoint)
    assert_refused(request_of.send(endpoint, {}), 400, "^sessionId: required")
    for name in fields:
        for wrong in WRONG["string"]:
            assert_refused(request_of.send(endpoint, fields | {name: wrong}), 400, f"^{name}: expected")


# -- the curl commands

CURLS = [(endpoint, command) for endpoint, part in REFERENCE.parts.items() for command in part.curls]


def run(command: str, daemon: Daemon) -> tuple[int, Any]:
    """Status and JSON of a curl command as it stands, but for the port when another docworker has that."""
    command = command.replace(f"http://localhost:{PORT}", daemon.url.replace("127.0.0.1", "localhost"))
    if shutil.which("curl"):
        shown = subprocess.run(
            ["sh", "-c", f"{command.rstrip()} --silent --show-error --noproxy '*' --write-out '\\n%{{http_code}}'"],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip
        body, _, status = shown.rpartition("\n")
        return int(status), json.loads(body)
    words = shlex.split(command.replace("\\\n", " "))[1:]
    given = dict(itertools.pairwise(words))
    headers = dict([given["-H"].split(": ", 1)]) if "-H" in given else {}
    (url,) = [word for word in words if word.startswith("http")]
    response = httpx.request(given.get("-X", "GET"), url, headers=headers, content=given.get("-d"), timeout=60)
    return response.status_code, response.json()


@pytest.mark.parametrize(("endpoint", "command"), CURLS, ids=[f"{' '.join(each)}-{n}" for n, (each, _) in enumerate(CURLS)])
def test_the_commands_of_the_reference_work(daemon: Daemon, docset: str, endpoint: Endpoint, command: str) -> None:
    status, body = run(command, daemon)
    if endpoint == ("POST", "/index"):
        assert (status, body.keys()) == (502, REFERENCE.error.keys())
        assert "nextjs.org" in body["error"]
        assert [each["id"] for each in daemon.get("/status")["docsets"]] == [docset]
    elif "abc123" in command:
        assert (status, body.keys()) == (404, REFERENCE.error.keys())
        assert "abc123" in body["error"]
    else:
        assert status == 200, body
        assert_like(body, REFERENCE.parts[endpoint].response)


def test_the_command_that_deletes_deletes(daemon: Daemon, docset: str) -> None:
    ((endpoint, command),) = [each for each in CURLS if each[0][0] == "DELETE"]
    with Site({"/docs": page("Brief", "Soon gone.")}) as brief:
        made = daemon.post("/index", baseUrl=brief.url, seedSlug="/docs")["docsetId"]
        status, body = run(command.replace("abc123", made), daemon)
    assert status == 200
    assert_like(body, REFERENCE.parts[endpoint].response)
    assert [each["id"] for each in daemon.get("/status")["docsets"]] == [docset]


# -- the contract beside it


def in_contract(pattern: str) -> str:
    """What a pattern finds in contract.md."""
    found = re.search(pattern, CONTRACT, re.DOTALL)
    assert found, pattern
    return found[1]


def test_the_states_are_those_of_the_contract() -> None:
    assert set(re.findall(r"`(\w+)`", in_contract(r"docset states are (.*?);"))) == set(DocsetState)
    assert set(re.findall(r"`(\w+)`", in_contract(r"page states are (.*?)\."))) == set(PageState)


def test_the_length_of_a_query_is_that_of_the_contract() -> None:
    assert int(in_contract(r"`query`: 1 to ([\d,]+) characters").replace(",", "")) == MAX_QUERY_CHARS


def test_the_limit_of_a_body_is_that_of_the_contract(request_of: RequestOf) -> None:
    limit = int(in_contract(r"413 body over (\d+) MiB")) * 2**20
    whole = json.dumps({"query": "x", "docsetIds": []}).encode()
    headers = {"Content-Type": "application/json"}
    for size, status in ((limit, 200), (limit + 1, 413)):
        response = request_of.daemon.request("POST", "/retrieve", content=whole.ljust(size), headers=headers)
        assert response.status_code == status, size
