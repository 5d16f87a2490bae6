"""Where the fetcher connects to: real HTTP on loopback, under names and addresses that the tests hand out.

`Names` is the system's resolver, `Wires` the network: whatever address is connected to, it ends at the site on loopback.
"""

import asyncio
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpcore
import pytest
import tenacity
import trustme

from docworker.crawl import fetcher, network
from docworker.crawl.fetcher import Fetcher, FetchLimits
from docworker.crawl.network import Network
from docworker.crawl.pacing import Pacer
from docworker.errors import Forbidden
from docworker.model import Access, Asked, Failed, Fetched, Reason, Redirected, Stamp
from docworker.urls import origin
from tests.site import Answer, Site

PUBLIC, OTHER, PUBLIC_V6, PRIVATE, METADATA = "93.184.216.34", "93.184.216.35", "2606:4700::1", "10.1.2.3", "169.254.169.254"
SECRET = "Bearer s3cr3t-t0ken"
LAST = Answer(body="<p>Page", headers={"Connection": "close"})  # the next request needs a connection of its own


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(fetcher, "_WAIT", tenacity.wait_none())


class Names:
    """Answers for each host, one after the other, the last again and again; none: no such host. `asked` are all look-ups."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.answers = {host: list(each) for host, each in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        left = self.answers.get(host, [[host]] if ":" in host or host[-1].isdigit() else [])
        if not left:
            raise OSError(f"no address of {host}")
        return left.pop(0) if len(left) > 1 else left[0]


class Wires(httpcore.AsyncNetworkBackend):
    """Every address leads to 127.0.0.1, but those that are `dead` (they refuse) or `silent` (they never answer)."""

    def __init__(self, dead: Iterable[str] = (), silent: Iterable[str] = ()) -> None:
        self.dead, self.silent = set(dead), set(silent)
        self.connected: list[str] = []
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append(host)
        if host in self.dead:
            raise httpcore.ConnectError("refused")
        if host in self.silent:
            try:
                await asyncio.wait_for(asyncio.Event().wait(), timeout)
            except TimeoutError:
                raise httpcore.ConnectTimeout("silent") from None
        return await self._real.connect_tcp("127.0.0.1", port, timeout, local_address, socket_options)


def made(names: Names, wires: Wires | None = None, *, attempts: int = 3) -> Fetcher:
    limits = FetchLimits(10.0, attempts, 2**20, 2**20, 60.0)
    return Fetcher(limits, Pacer(4, 0.0), Network(names, wires or Wires()))


def at(site: Site, host: str, path: str = "/page", scheme: str = "http") -> str:
    """A page of the site under another name."""
    return f"{scheme}://{host}:{urlsplit(site.url).port}{path}"


def own(url: str, *, inside: bool = False, headers: Mapping[str, str] | None = None) -> Access:
    """How the docset of this URL's origin may be asked."""
    return Access(origin(url), inside, tuple((headers or {}).items()))


def failed(asked: Asked, match: str) -> None:
    """Not asked for the address's sake: no request, no second attempt."""
    assert isinstance(asked.outcome, Failed), asked
    assert asked.outcome.reason is Reason.ADDRESS
    assert match in asked.outcome.message
    assert (asked.status, asked.requests, asked.outcome.retry_after_s) == (None, 0, None)


def came(asked: Asked) -> None:
    assert isinstance(asked.outcome, Fetched), asked


@pytest.fixture
def site() -> Iterator[Site]:
    with Site({"/page": "<p>Page", "/last": LAST}) as running:
        yield running


# -- what is connected to


async def test_a_name_is_looked_up_once_and_what_it_leads_to_is_connected_to(site: Site) -> None:
    names, wires = Names({"docs.example": [[PUBLIC]]}), Wires()
    async with made(names, wires) as asking:
        url = at(site, "docs.example")
        for _ in range(3):
            came(await asking.fetch(url, access=own(url)))
    assert (names.asked, wires.connected) == (["docs.example"], [PUBLIC])
    assert {headers["Host"] for headers in site.headers} == {urlsplit(url).netloc}


async def test_a_second_answer_of_the_name_server_changes_nothing_and_the_next_connection_is_checked(site: Site) -> None:
    names, wires = Names({"docs.example": [[PUBLIC], ["127.0.0.1"]]}), Wires()
    async with made(names, wires) as asking:
        url = at(site, "docs.example", "/last")
        came(await asking.fetch(url, access=own(url)))
        assert (names.asked, wires.connected) == (["docs.example"], [PUBLIC])
        failed(await asking.fetch(url, access=own(url)), "docs.example leads to 127.0.0.1, this machine itself")
    assert (names.asked, wires.connected, site.requests["/last"]) == (["docs.example"] * 2, [PUBLIC], 1)


async def test_the_system_connects_to_what_was_checked(site: Site) -> None:
    names = Names({"docs.localhost": [["127.0.0.1"], [METADATA]]})
    async with Fetcher(FetchLimits(10.0, 3, 2**20, 2**20, 60.0), Pacer(4, 0.0), Network(names)) as asking:
        url = at(site, "docs.localhost", "/last")
        came(await asking.fetch(url, access=own(url)))
        failed(await asking.fetch(url, access=own(url)), f"docs.localhost leads to {METADATA}")
    assert (len(names.asked), site.requests["/last"]) == (2, 1)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_this_machine_is_asked_under_its_own_name(site: Site, host: str) -> None:
    async with Fetcher(FetchLimits(10.0, 3, 2**20, 2**20, 60.0), Pacer(4, 0.0)) as asking:  # by the system's own resolver
        came(await asking.fetch(at(site, host), access=own(at(site, host))))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["::1"], [METADATA], ["fe80::1"], ["0.0.0.0"], ["::ffff:127.0.0.1"], ["64:ff9b::a9fe:a9fe"],
     ["fd00:ec2::254"], ["127.0.0.1", METADATA]],
)  # fmt: skip
async def test_a_name_that_leads_to_this_machine_or_to_metadata_is_not_asked(site: Site, answer: list[str], inside: bool) -> None:
    names, wires = Names({"docs.example": [answer]}), Wires()
    async with made(names, wires) as asking:
        url = at(site, "docs.example")
        failed(await asking.fetch(url, access=own(url, inside=inside)), f"docs.example leads to {answer[0]}, ")
    assert (names.asked, wires.connected, site.requests.total()) == (["docs.example"], [], 0)


@pytest.mark.parametrize("answer", [[METADATA, PRIVATE, "127.0.0.1", PUBLIC], [PUBLIC, PRIVATE], ["::1", PUBLIC, "fe80::1"]])
async def test_of_several_addresses_only_those_are_tried_that_may_be(site: Site, answer: list[str]) -> None:
    names, wires = Names({"docs.example": [answer]}), Wires(dead=[PUBLIC])
    async with made(names, wires, attempts=1) as asking:
        url = at(site, "docs.example")
        asked = await asking.fetch(url, access=own(url))
    assert isinstance(asked.outcome, Failed)
    assert asked.outcome.reason is Reason.NO_ANSWER
    assert wires.connected == [PUBLIC]


async def test_a_private_address_is_asked_for_the_docset_that_was_given_so_and_for_no_other(site: Site) -> None:
    names, wires = Names({"wiki.example": [[PRIVATE]]}), Wires()
    async with made(names, wires) as asking:
        url = at(site, "wiki.example")
        failed(await asking.fetch(url, access=own(url)), "index the site again")
        came(await asking.fetch(url, access=own(url, inside=True)))
        assert wires.connected == [PRIVATE]
        # the connection is still open, and no other docset may use it
        failed(await asking.fetch(url, access=own(url)), "index the site again")
        failed(await asking.fetch(url, access=Access("http://docs.example", inside=True)), "index the site again")
        assert wires.connected == [PRIVATE]
        came(await asking.fetch(url, access=own(url, inside=True)))
    assert (wires.connected, site.requests["/page"]) == ([PRIVATE], 2)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("host", [METADATA, "127.0.0.1", "localhost", "x.localhost", "[::1]", PRIVATE, "[fd12::1]", "0.0.0.0"])
async def test_no_site_leads_to_an_address_inside(site: Site, host: str, inside: bool) -> None:
    names, wires = Names({"localhost": [["127.0.0.1"]], "x.localhost": [["127.0.0.1"]], "docs.example": [[PUBLIC]]}), Wires()
    site.pages["/away"] = Answer(302, headers={"Location": at(site, host)})
    async with made(names, wires) as asking:
        url = at(site, "docs.example", "/away")
        asked = await asking.fetch(url, access=own(url, inside=inside))
        assert isinstance(asked.outcome, Redirected)
        failed(await asking.fetch(asked.outcome.target, access=own(url, inside=inside)), "where no site of another host may lead")
    assert site.requests == {"/away": 1}
    assert names.asked == ["docs.example"]


async def test_the_own_connection_to_this_machine_is_none_of_another_docset(site: Site) -> None:
    url = at(site, "localhost")
    names = Names({"localhost": [["127.0.0.1"]]})
    async with made(names) as asking:
        came(await asking.fetch(url, access=own(url)))
        failed(await asking.fetch(url, access=Access("http://docs.example")), "no site of another host")
        failed(await asking.fetch(url, access=Access("http://localhost:1")), "no site of another host")
    assert site.requests["/page"] == 1


# -- which address


@pytest.mark.parametrize("silent", [False, True])
async def test_where_an_address_does_not_answer_the_next_one_is_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr(network, "_NEXT_AFTER_S", 0.05)
    names, wires = Names({"docs.example": [[PUBLIC, OTHER]]}), Wires(**{"silent" if silent else "dead": [PUBLIC]})
    async with made(names, wires, attempts=1) as asking:
        url = at(site, "docs.example")
        came(await asking.fetch(url, access=own(url)))
    assert (names.asked, wires.connected) == (["docs.example"], [PUBLIC, OTHER])


async def test_of_very_many_addresses_some_of_both_families_are_tried(site: Site) -> None:
    v6, v4 = [f"2606:4700::{n}" for n in range(1, 30)], [f"93.184.216.{n}" for n in range(1, 30)]
    wires = Wires(dead=[*v6, *v4])
    async with made(Names({"docs.example": [[*v6, *v4]]}), wires, attempts=1) as asking:
        url = at(site, "docs.example")
        asked = await asking.fetch(url, access=own(url))
    assert isinstance(asked.outcome, Failed)
    assert wires.connected == [v6[0], v4[0], v6[1], v4[1], v6[2], v4[2], v6[3], v4[3]]


async def test_a_name_that_leads_nowhere_is_said_and_tried_again(site: Site) -> None:
    names = Names({})
    async with made(names) as asking:
        asked = await asking.fetch("http://docs.example/", access=Access("http://docs.example"))
        nowhere = await asking.fetch("http://no-such-host.invalid/", access=Access("http://no-such-host.invalid"))
    assert isinstance(asked.outcome, Failed)
    assert (asked.outcome.reason, asked.requests, len(names.asked)) == (Reason.NO_ANSWER, 3, 6)
    assert isinstance(nowhere.outcome, Failed)


# -- TLS


def tls_of(name: str, authority: trustme.CA, asked_for: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    def note(connection: ssl.SSLObject | ssl.SSLSocket, server_name: str | None, context: ssl.SSLContext) -> None:
        asked_for.append(server_name or "")

    context.sni_callback = note
    return context


@pytest.mark.parametrize(("of", "verified"), [("docs.example", True), ("other.example", False), (PUBLIC, False)])
async def test_tls_asks_for_the_name_and_verifies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str, verified: bool
) -> None:
    authority, asked_for = trustme.CA(), list[str]()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Site({"/page": "<p>Page"}, tls=tls_of(of, authority, asked_for)) as site:
        async with made(Names({"docs.example": [[PUBLIC]]}), attempts=1) as asking:
            url = at(site, "docs.example", scheme="https")
            asked = await asking.fetch(url, access=own(url))
    assert asked_for == ["docs.example"]
    if verified:
        came(asked)
    else:
        assert isinstance(asked.outcome, Failed)
        assert asked.outcome.reason is Reason.NO_ANSWER
        assert "certificate" in asked.outcome.message
        assert site.requests.total() == 0


# -- a proxy


async def test_a_proxy_looks_names_up_and_is_asked_for_no_address_inside(site: Site) -> None:
    site.pages["http://docs.example/page"] = "<p>Page"
    names = Names({})
    limits = FetchLimits(10.0, 3, 2**20, 2**20, 60.0)
    async with Fetcher(limits, Pacer(4, 0.0), Network(names, proxy=site.url)) as asking:
        access = Access("http://docs.example")
        came(await asking.fetch("http://docs.example/page", access=access))
        for host in (METADATA, "127.0.0.1", "localhost", PRIVATE):
            failed(await asking.fetch(f"http://{host}/", access=access), "no site of another host")
        failed(await asking.fetch(f"http://{METADATA}/", access=Access(f"http://{METADATA}")), "never asked")
        assert await asking.leads_inside("http://docs.example/") is None
        with pytest.raises(Forbidden):
            await asking.leads_inside(f"http://{METADATA}/")
    assert site.requests == {"http://docs.example/page": 1}
    assert names.asked == []


async def test_a_proxy_of_the_environment_is_not_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with Site() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with made(Names({"docs.example": [[PUBLIC]]})) as asking:
            came(await asking.fetch(at(site, "docs.example"), access=own(at(site, "docs.example"))))
        assert proxy.requests.total() == 0


# -- the seed


@pytest.mark.parametrize(
    ("host", "answer", "expected"),
    [
        ("docs.example", [PUBLIC], False),
        ("docs.example", [PUBLIC_V6, PUBLIC], False),
        ("docs.example", [PUBLIC, PRIVATE], False),
        ("docs.example", [PUBLIC, "127.0.0.1"], False),
        ("wiki.example", [PRIVATE], True),
        ("wiki.example", [PRIVATE, "127.0.0.1", METADATA], True),
        ("wiki.example", ["fd12::1"], True),
        ("localhost", ["127.0.0.1"], False),
        ("a.localhost", ["::1"], False),
        (PRIVATE, None, False),
        ("[fd12::1]", None, False),
        ("127.0.0.1", None, False),
        ("[::1]", None, False),
        ("unknown.example", [], None),
    ],
)
async def test_a_seed_may_lead_to_private_addresses(host: str, answer: list[str] | None, expected: bool | None) -> None:
    names = Names({} if not answer else {host: [answer]})
    async with made(names) as asking:
        assert await asking.leads_inside(f"http://{host}/docs") is expected
    assert names.asked == ([] if answer is None else [host])


@pytest.mark.parametrize(
    ("host", "answer", "said"),
    [
        ("docs.example", ["127.0.0.1"], "http://127.0.0.1:8000/"),
        ("docs.example", ["::1", "127.0.0.1"], "http://127.0.0.1:8000/"),
        ("docs.example", [METADATA], "never asked"),
        ("docs.example", ["0.0.0.0"], "never asked"),
        ("localhost", [METADATA], "never asked"),
        (METADATA, None, "never asked"),
        ("[fe80::1]", None, "never asked"),
        ("[::ffff:a9fe:a9fe]", None, "never asked"),
        ("[::ffff:7f00:1]", None, "give that address itself"),
        ("0.0.0.0", None, "never asked"),
    ],
)
async def test_a_seed_that_leads_to_this_machine_unsaid_or_to_metadata_is_forbidden(
    host: str, answer: list[str] | None, said: str
) -> None:
    async with made(Names({} if answer is None else {host: [answer]})) as asking:
        with pytest.raises(Forbidden, match=said):
            await asking.leads_inside(f"http://{host}/docs")


async def test_a_resolver_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_LOOK_UP_S", 0.05)

    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with Fetcher(FetchLimits(10.0, 3, 2**20, 2**20, 60.0), Pacer(4, 0.0), Network(never)) as asking:
        assert await asyncio.wait_for(asking.leads_inside("http://docs.example/"), 10) is None


# -- a docset's own headers

HEADERS = {"Authorization": SECRET, "Cookie": "session=c00kie", "user-agent": "mine"}


async def test_own_headers_are_sent_with_every_request_to_the_own_origin(site: Site) -> None:
    names = Names({"docs.example": [[PUBLIC]]})
    async with made(names) as asking:
        for path in ("/robots.txt", "/page"):
            url = at(site, "docs.example", path)
            await asking.fetch(url, access=own(url, headers=HEADERS), known=Stamp('"x"', None, "", ""))
    assert len(site.headers) == 2
    for headers in site.headers:
        said = {name.lower(): value for name, value in headers.items()}
        assert (said["authorization"], said["cookie"], said["user-agent"]) == (SECRET, "session=c00kie", "mine")
        assert (said["if-none-match"], said["accept-encoding"]) == ('"x"', "gzip, deflate")


@pytest.mark.parametrize(
    "where", ["http://other.example", "http://docs.example:1", "http://sub.docs.example", "https://docs.example"]
)
async def test_own_headers_are_sent_to_no_other_origin(site: Site, where: str) -> None:
    names = Names({"docs.example": [[PUBLIC]]})
    async with made(names) as asking:
        url = at(site, "docs.example")
        of = f"{where}:{urlsplit(url).port}" if where.startswith("https") else where
        came(await asking.fetch(url, access=Access(of, headers=tuple(HEADERS.items()))))
    (headers,) = site.headers
    assert not {"Authorization", "Cookie"} & headers.keys()
    assert headers["User-Agent"] != "mine"


async def test_own_headers_go_up_to_https_of_the_same_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Site({"/page": "<p>Page"}, tls=tls_of("docs.example", authority, [])) as site:
        async with made(Names({"docs.example": [[PUBLIC]]})) as asking:
            access = own(at(site, "docs.example"), headers=HEADERS)
            came(await asking.fetch(at(site, "docs.example", scheme="https"), access=access))
        assert [headers["Authorization"] for headers in site.headers] == [SECRET]


async def test_a_header_that_cannot_be_sent_is_not_shown(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")  # what httpcore says below that, the daemon never logs
    url = at(site, "docs.example")
    access = own(url, headers={"Authorization": f"{SECRET}\r\nX: y"})
    async with made(Names({"docs.example": [[PUBLIC]]})) as asking:
        asked = await asking.fetch(url, access=access)
    assert isinstance(asked.outcome, Failed)
    assert "cannot be sent" in asked.outcome.message
    assert "s3cr3t" not in repr(asked) + str(access) + repr(access) + caplog.text
    assert site.requests.total() == 0
