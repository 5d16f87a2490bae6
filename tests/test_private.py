"""Private documentation, with a real daemon: what is sent where, that nobody is told it, and who may not be indexed at all."""

import os
import re
import socket
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest
import trustme

from docworker.contract import IndexRequest
from docworker.model import PageState
from docworker.store import salvage
from tests.daemon import Daemon
from tests.site import Answer, Site
from tests.test_cli import done, run
from tests.test_contract import INDEX, refusal

TOKEN, COOKIE, SERVERS = "s3cr3t-t0ken", "c00kie-s3cr3t", "s3rvers-s3cr3t"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Cookie": f"session={COOKIE}"}
PLAIN: dict[str, str | Answer] = {
    "/docs/": "<title>Elsewhere</title><h1>Elsewhere</h1><p>Anybody may read it.",
    "/docs/x": "<p>X",
}


class PrivateSite(Site):
    """Answers 401, or sends to its login page, whoever does not give the token and the cookie; `seen` are the others' headers."""

    def __init__(self, pages: Mapping[str, str | Answer], refusal: Answer | None = None, **more: Any) -> None:
        super().__init__(pages, **more)
        self.refusal = refusal or Answer(401, "<h1>Log in</h1>")
        self.token = TOKEN
        self._known = False

    def asked(self, path: str, headers: Mapping[str, str]) -> int:
        self._known = (headers.get("Authorization"), headers.get("Cookie")) == (f"Bearer {self.token}", f"session={COOKIE}")
        return super().asked(path, headers)

    def answer(self, path: str) -> Answer:
        found = super().answer(path) if self._known else self.refusal
        return Answer(found.status, found.body, found.content_type, {**found.headers, "Set-Cookie": f"id={SERVERS}"})


def page(title: str, *links: str) -> str:
    listed = "".join(f"<li><a href='{link}'>{link}</a>" for link in links)
    return f"<title>{title}</title><main><h1>{title}</h1><p>All about the {title}.</p></main><ul>{listed}</ul>"


def wiki() -> dict[str, str | Answer]:
    return {
        "/docs/": page("Wiki", "one", "two"),
        "/docs/one": page("Spout"),
        "/docs/two": page("Lid"),
        "/docs/map": page("Only the sitemap names it"),
        "/robots.txt": "User-agent: *\nDisallow: /docs/two\nSitemap: /sitemap.xml",
    }


@pytest.fixture
def site() -> Iterator[PrivateSite]:
    with PrivateSite(wiki()) as running:
        running.pages["/sitemap.xml"] = f"<urlset><url><loc>{running.url}/docs/map</loc></url></urlset>"
        running.pages["/robots.txt"] = f"User-agent: *\nDisallow: /docs/two\nSitemap: {running.url}/sitemap.xml"
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon of nearly all tests: it has no model, and logs all that it can."""
    folder = tmp_path_factory.mktemp("private")
    settings = {"request_attempts": 1, "model_dir": folder, "requests_per_host": 1, "log_level": "debug"}
    with Daemon(folder / "data", folder / "cache", **settings) as running:
        yield running


@pytest.fixture
def daemon(shared: Daemon) -> Iterator[Daemon]:
    """The same, without docsets of other tests."""
    yield shared
    for docset in shared.get("/status")["docsets"]:
        shared.request("DELETE", f"/docset/{docset['id']}").raise_for_status()


def index(daemon: Daemon, site: Site, **more: object) -> Any:
    made = daemon.post("/index", baseUrl=site.url, seedSlug="/docs/", waitForSeed=False, **more)
    return daemon.wait_ready(made["docsetId"])


def states(daemon: Daemon, docset_id: str) -> dict[str, str]:
    return {each["path"]: each["status"] for each in daemon.get(f"/docset/{docset_id}/pages")["pages"]}


ALL = {
    "/docs/": PageState.INDEXED,
    "/docs/one": PageState.INDEXED,
    "/docs/two": PageState.SKIPPED,
    "/docs/map": PageState.INDEXED,
}


def sent(site: Site) -> set[tuple[str | None, str | None]]:
    return {(headers.get("Authorization"), headers.get("Cookie")) for headers in site.headers}


BOTH = (HEADERS["Authorization"], HEADERS["Cookie"])


def assert_told_nobody(daemon: Daemon, docset_id: str, *said: str) -> None:
    """No secret in any answer, in the log, nor in a file that anybody else may read."""
    base = daemon.get(f"/docset/{docset_id}")["baseUrl"]
    answers = [
        daemon.request("GET", path).raise_for_status().text
        for path in ("/health", "/status", "/status?includeStuck=true", f"/docset/{docset_id}", f"/docset/{docset_id}/pages",
                     f"/why?url={base}/docs/one")
    ]  # fmt: skip
    answers.append(daemon.request("POST", "/doctor", json={}).text)
    answers.append(daemon.request("POST", "/retrieve", json={"query": "All about the spout"}).text)
    answers += [daemon.log(), *said]
    assert [text for text in answers if re.search("s3cr3t", text)] == []
    folder = daemon.settings.data_dir
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    holding = [file for file in folder.rglob("*") if file.is_file() and b"s3cr3t" in file.read_bytes()]
    assert {file.name.partition(".")[0] for file in holding} <= {"catalog"}
    assert [file for file in holding if stat.S_IMODE(file.stat().st_mode) != 0o600] == []


def test_headers_go_to_every_page_of_the_origin_and_nobody_is_told_them(daemon: Daemon, site: PrivateSite) -> None:
    docset = index(daemon, site, headers=HEADERS)
    assert states(daemon, docset["id"]) == ALL
    assert docset["headerNames"] == ["Authorization", "Cookie"]
    assert site.requests == dict.fromkeys(["/robots.txt", "/sitemap.xml", "/docs/", "/docs/one", "/docs/map"], 1)
    assert sent(site) == {BOTH}
    assert_told_nobody(daemon, docset["id"])
    refreshed = daemon.post("/refresh", docsetId=docset["id"], force=True, fullReindex=True)
    daemon.wait_ready(docset["id"])
    assert_told_nobody(daemon, docset["id"], str(refreshed))


def test_headers_go_to_no_other_origin(daemon: Daemon, site: PrivateSite) -> None:
    with Site(PLAIN) as other:
        site.pages["/docs/"] = page("Wiki", f"{other.url}/docs/", "moved", "one")
        site.pages["/docs/moved"] = Answer(302, headers={"Location": f"{other.url}/docs/x"})
        site.pages["/sitemap.xml"] = Answer(302, headers={"Location": f"{other.url}/sitemap.xml"})
        private = index(daemon, site, headers=HEADERS)
        assert states(daemon, private["id"])["/docs/moved"] == "skipped"
        assert other.requests.total() == 0
        public = index(daemon, other)
        assert public["headerNames"] == []
        assert sent(other) == {(None, None)}
    assert sent(site) == {BOTH}


def test_headers_stay_over_a_restart_a_refresh_and_indexing_again_until_they_are_removed(
    daemon: Daemon, site: PrivateSite
) -> None:
    docset_id = index(daemon, site, headers=HEADERS)["id"]
    daemon.end()
    daemon.start()
    site.headers.clear()
    daemon.post("/refresh", docsetId=docset_id, force=True)
    docset = daemon.wait_ready(docset_id)
    assert (docset["lastRefresh"]["done"], states(daemon, docset_id)) == (True, ALL)
    assert len(site.headers) >= 4
    assert sent(site) == {BOTH}
    assert index(daemon, site)["headerNames"] == ["Authorization", "Cookie"]
    assert index(daemon, site, headers=None)["headerNames"] == ["Authorization", "Cookie"]
    site.headers.clear()
    assert index(daemon, site, headers={})["headerNames"] == []
    daemon.post("/refresh", docsetId=docset_id, force=True)
    docset = daemon.wait_ready(docset_id)
    assert sent(site) == {(None, None)}
    assert docset["lastRefresh"]["done"] is False
    assert "wants a login (401)" in docset["lastRefresh"]["message"]
    assert states(daemon, docset_id) == ALL, "what there was is kept"


@pytest.mark.parametrize(
    "refused",
    [Answer(401), Answer(403), Answer(404), Answer(302, headers={"Location": "https://login.example/?back=docs"})],
    ids=["401", "403", "404", "login page elsewhere"],
)
def test_pages_that_were_refused_are_asked_again_with_new_headers(daemon: Daemon, refused: Answer) -> None:
    pages = {**wiki(), "/robots.txt": "User-agent: *\nDisallow: /docs/two"}
    with PrivateSite(pages, refused) as site:
        docset = index(daemon, site)
        assert docset["status"] == "error"
        docset = index(daemon, site, headers={**HEADERS, "Cookie": "session=wrong"})
        assert docset["status"] == "error"
        site.pages["/sitemap.xml"] = f"<urlset><url><loc>{site.url}/docs/map</loc></url></urlset>"
        docset = index(daemon, site, headers=HEADERS)
        assert states(daemon, docset["id"]) == ALL, "by its robots.txt and sitemap too, which were refused before"
        assert docset["status"] == "ready"


def test_pages_below_that_were_refused_are_asked_again_only_with_other_headers(daemon: Daemon) -> None:
    with Site({"/docs/": page("Wiki", "one"), "/docs/one": Answer(403)}) as site:
        for headers in ({"X-Key": "1"}, {"X-Key": "1"}, {"X-Key": "2"}):
            docset = index(daemon, site, headers=headers)
        assert site.requests["/docs/one"] == 2
        assert states(daemon, docset["id"]) == {"/docs/": "indexed", "/docs/one": "skipped"}
        index(daemon, site)
        assert site.requests["/docs/one"] == 2


def test_headers_of_a_docset_that_is_deleted_are_gone(daemon: Daemon, site: PrivateSite) -> None:
    docset_id = index(daemon, site, headers=HEADERS)["id"]
    daemon.request("DELETE", f"/docset/{docset_id}").raise_for_status()
    assert index(daemon, site)["headerNames"] == []


def test_a_site_that_moves_up_to_https_keeps_its_headers_and_a_docset_of_https_never_sends_them_by_http(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    by: list[tuple[str, str]] = []

    class Both(PrivateSite):
        def answer_to(self, path: str, scheme: str) -> Answer:
            by.append((scheme, path))
            if scheme == "http":
                return Answer(301, headers={"Location": f"{self.url.replace('http:', 'https:')}{path}"})
            return self.answer(path)

    daemon = make_daemon(request_attempts=1, model_dir=tmp_path, requests_per_host=1)
    daemon.environment["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    with daemon, Both({"/docs/": page("Wiki", "one"), "/docs/one": page("Spout")}, tls=context) as site:
        docset = index(daemon, site, headers=HEADERS)
        assert (docset["status"], docset["baseUrl"]) == ("ready", site.url.replace("http:", "https:"))
        assert states(daemon, docset["id"]) == {"/docs/": "indexed", "/docs/one": "indexed"}
        by.clear()
        site.pages["/docs/one"] = page("Spout", f"{site.url}/docs/back")
        site.pages["/docs/back"] = page("Back")
        daemon.post("/refresh", docsetId=docset["id"], force=True)
        assert states(daemon, daemon.wait_ready(docset["id"])["id"])["/docs/back"] == "indexed"
        assert {scheme for scheme, _ in by} == {"https"}


# -- what may be given


GOOD: list[Mapping[str, str]] = [
    {},
    {"Authorization": "Bearer abc=="},
    {"X-Api-Key": "x" * 4_096, "Cookie": 'a=b; c="d e"\tf'},
    {f"X-{number}": "1" for number in range(20)},
    {"User-Agent": "mine", "Accept-Language": "en"},
]
BAD: list[object] = [
    {f"X-{number}": "s3cr3t" for number in range(21)},
    {"": "s3cr3t"},
    {"Authorization: Bearer s3cr3t": "s3cr3t"},
    {"A b": "s3cr3t"},
    {"Ä": "s3cr3t"},
    {"X-s3cr3t\n": "x"},
    {"X" * 101: "s3cr3t"},
    {"X": "s3cr3t\r\nY: z"},
    {"X": "s3cr3t\n"},
    {"X": "s3cr3t\x00"},
    {"X": "s3cr3t\x7f"},
    {"X": "s3cr3t é"},
    {"X": " s3cr3t"},
    {"X": "s3cr3t\t"},
    {"X": ""},
    {"X": "s3cr3t" + "x" * 4_096},
    {"X": 53},
    {"X": ["s3cr3t"]},
    {"X": None},
    {"X": "s3cr3t", "x": "s3cr3t"},
    {"X": "s3cr3t \ud800"},
    "Authorization: Bearer s3cr3t",
    ["Authorization: Bearer s3cr3t"],
    [["Authorization", "s3cr3t"]],
    53,
    *({name: "s3cr3t"} for name in (
        "Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "TE", "Trailer", "Expect",
        "Proxy-Authorization", "Proxy-Connection", "Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since", "If-Range",
    )),
]  # fmt: skip


@pytest.mark.parametrize("headers", GOOD, ids=range(len(GOOD)))
def test_headers_that_can_be_sent_are_taken_and_not_shown(headers: Mapping[str, str]) -> None:
    request = IndexRequest.model_validate({**INDEX, "headers": headers})
    assert request.headers == headers
    assert "headers" not in repr(request)


@pytest.mark.parametrize("headers", BAD, ids=range(len(BAD)))
async def test_headers_that_cannot_be_sent_are_refused_without_showing_them(headers: object) -> None:
    said = await refusal(IndexRequest, {**INDEX, "headers": headers})
    assert re.fullmatch(r"headers: expected [^\n]*[^.]\.", said)
    assert "s3cr3t" not in said
    assert "53" not in said


async def test_a_misspelt_field_does_not_show_what_was_meant_for_headers() -> None:
    for name in ("header", "Headers", "cookies"):
        said = await refusal(IndexRequest, {**INDEX, name: {"Authorization": "s3cr3t"}})
        assert said.startswith(f"{name}: unknown field; expected ")
        assert "s3cr3t" not in said


def test_a_refusal_of_headers_shows_none_of_them(daemon: Daemon) -> None:
    answer = daemon.request("POST", "/index", json={"baseUrl": "http://127.0.0.1:1", "seedSlug": "/", "headers": BAD[7]})
    assert answer.status_code == 400
    assert "s3cr3t" not in answer.text + daemon.log()


# -- the command


def test_the_command_sends_headers_also_from_the_environment(daemon: Daemon, site: PrivateSite) -> None:
    url = f"{site.url}/docs/"
    arguments = ["index", url, "--header", f"Cookie:session={COOKIE}", "--header-env", "Authorization = WIKI_TOKEN"]
    finished = run(daemon, *arguments, WIKI_TOKEN=f"Bearer {TOKEN}")
    assert "s3cr3t" not in done(finished) + finished.stderr
    assert sent(site) == {BOTH}
    as_json = run(daemon, "index", url, "--json")
    assert (
        '"headerNames": ["Authorization", "Cookie"]' in done(as_json)
        or '"headerNames": ["Cookie", "Authorization"]' in as_json.stdout
    )
    assert "s3cr3t" not in as_json.stdout
    done(run(daemon, "index", url, "--header", ""))
    assert daemon.get("/status")["docsets"][0]["headerNames"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--header", "Authorization s3cr3t"],
        ["--header", ": s3cr3t"],
        ["--header-env", "Authorization: Bearer s3cr3t=="],
        ["--header-env", "Authorization: s3cr3t=UNSET"],
        ["--header-env", "Authorization=s3cr3t"],
        ["--header-env", "s3cr3t"],
        ["--header-env", "=HOME"],
    ],
)
def test_a_header_that_is_none_is_a_usage_error_that_does_not_show_it(daemon: Daemon, arguments: list[str]) -> None:
    finished = run(daemon, "index", "http://127.0.0.1:1/", *arguments)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "Usage:" in finished.stderr
    assert "s3cr3t" not in finished.stderr


# -- a damaged catalog


def test_a_salvaged_catalog_keeps_the_headers_that_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    source = Path(__file__).parent.parent / "fixtures" / "folders" / "schema-5.sql"
    db = apsw.Connection(str(file))
    db.execute(source.read_text("utf-8"))
    db.close()
    salvage.salvage(file)  # brings it up to date
    db = apsw.Connection(str(file))
    ids = [str(id_) for (id_,) in db.execute("SELECT id FROM docsets ORDER BY id")]
    kept = '{"Authorization": "Bearer x"}'
    db.execute("INSERT INTO access VALUES (?, 1, ?), (?, 1, ?)", (ids[0], kept, ids[1], '{"Authorization": "Be'))
    db.close()
    salvage.salvage(file)
    db = apsw.Connection(str(file))
    assert db.execute("SELECT * FROM access ORDER BY docset_id").fetchall() == [(ids[0], 1, kept), (ids[1], 1, "{}")]
    db.close()


# -- who may not be indexed


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("http://169.254.169.254/", 403, "never asked"),
        ("http://[fe80::1]/", 403, "never asked"),
        ("http://[::ffff:169.254.169.254]/", 403, "never asked"),
        ("http://[64:ff9b::a9fe:a9fe]/", 403, "never asked"),
        ("http://[fd00:ec2::254]/", 403, "never asked"),
        ("http://0.0.0.0/", 403, "never asked"),
        ("http://[::]/", 403, "never asked"),
        ("http://100.100.100.200/", 403, "never asked"),
        ("http://224.0.0.1/", 403, "never asked"),
        ("http://255.255.255.255/", 403, "never asked"),
        ("http://[::ffff:127.0.0.1]/", 403, "give that address itself"),
        ("http://2130706433/", 400, "baseUrl"),
        ("http://127.1/", 400, "baseUrl"),
        ("http://0x7f.0.0.1/", 400, "baseUrl"),
        ("http://0251.0376.0251.0376/", 400, "baseUrl"),
        ("http://[fe80::1%25eth0]/", 400, "baseUrl"),
        ("http://169.254.169.254./", 400, "baseUrl"),
    ],
)
def test_an_address_that_is_never_asked_is_no_seed(daemon: Daemon, url: str, status: int, said: str) -> None:
    for wait in (True, False):
        answer = daemon.request("POST", "/index", json={"baseUrl": url, "seedSlug": "/", "waitForSeed": wait})
        assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
    assert daemon.get("/status")["docsets"] == []


def test_a_name_of_this_machine_is_no_seed_but_its_address_is(daemon: Daemon) -> None:
    name = socket.gethostname()
    try:
        leads = {str(address[0]) for *_, address in socket.getaddrinfo(name, 80)}
    except OSError:
        leads = set()
    if name == "localhost" or not leads or not all(address.startswith("127.") for address in leads):
        pytest.skip("this machine's name does not lead to itself")
    with Site(PLAIN) as site:
        port = site.url.rpartition(":")[2]
        answer = daemon.request("POST", "/index", json={"baseUrl": f"http://{name}:{port}", "seedSlug": "/docs/"})
        assert answer.status_code == 403
        assert f"{name} leads to 127." in answer.json()["error"]
        assert site.requests.total() == 0
        assert index(daemon, site)["status"] == "ready"
        made = daemon.post("/index", baseUrl=f"http://localhost:{port}", seedSlug="/docs/")
        assert made["seedIndexed"]


def test_the_catalog_of_an_open_folder_is_closed_to_others(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    before = os.umask(0)
    try:
        with daemon:
            pass
        file = daemon.settings.data_dir / "catalog.sqlite"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.chmod(0o644)  # of an older docworker
        with daemon:
            modes = {stat.S_IMODE(each.stat().st_mode) for each in file.parent.glob("catalog.sqlite*")}
            assert modes == {0o600}
    finally:
        os.umask(before)
