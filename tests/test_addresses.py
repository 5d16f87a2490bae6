"""What an address is, what may be connected to, and that no spelling of an address passes for a name."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from docworker.crawl.addresses import Kind, is_this_machine, kind, refused, refused_elsewhere
from docworker.urls import canonical

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255", "169.253.255.255", "2606:4700::1111"]
PRIVATE = [
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255", "198.18.0.1", "198.19.255.255",
    "192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "fc00::1", "fd12:3456::1", "fec0::1", "2001:db8::1", "2001:10::1",
]  # fmt: skip
LOOPBACK = ["127.0.0.1", "127.0.0.53", "127.255.255.255", "::1"]
NEVER = [
    "169.254.169.254", "169.254.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "febf::1", "::", "ff02::1",
    "ff0e::1", "100::1", "5f00::1", "4000::1", "e000::1", "::1.2.3.4", "not an address", "",
]  # fmt: skip
V4 = {Kind.PUBLIC: "8.8.8.8", Kind.PRIVATE: "10.0.0.1", Kind.LOOPBACK: "127.0.0.1", Kind.NEVER: "169.254.169.254"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [(address, what) for what, addresses in zip(Kind, (PUBLIC, PRIVATE, LOOPBACK, NEVER), strict=True) for address in addresses],
)
def test_an_address_is_public_private_of_this_machine_or_never_asked(address: str, expected: Kind) -> None:
    assert kind(address) is expected


def carriers(v4: str) -> dict[str, str]:
    """The IPv6 addresses that lead to an IPv4 address."""
    number = int(IPv4Address(v4))
    high, low = divmod(number, 0x10000)
    return {
        "mapped": f"::ffff:{v4}",
        "NAT64": f"64:ff9b::{v4}",
        "6to4": f"2002:{high:x}:{low:x}::1",
        "local NAT64 at 96": f"64:ff9b:1::{v4}",
        "local NAT64 at 48": str(IPv6Address(0x0064FF9B0001 << 80 | high << 64 | low << 40)),
        "Teredo server": f"2001:0:{high:x}:{low:x}::ffff:ffff",
        "Teredo client": str(IPv6Address(0x20010000 << 96 | int(IPv4Address("8.8.8.8")) << 64 | number ^ 0xFFFFFFFF)),
    }


@pytest.mark.parametrize("way", carriers("8.8.8.8"))
@pytest.mark.parametrize("carried", V4)
def test_an_ipv6_address_that_leads_to_an_ipv4_address_is_judged_by_it_and_by_itself(way: str, carried: Kind) -> None:
    least = Kind.PRIVATE if way.startswith(("local", "Teredo")) else Kind.PUBLIC
    expected = max(carried, least)
    if way == "Teredo server":  # its client is 0.0.0.0 here
        expected = Kind.NEVER
    assert kind(carriers(V4[carried])[way]) is expected


@given(st.integers(0, 2**32 - 1))
@example(int(IPv4Address("198.20.0.0")))
@settings(max_examples=300, deadline=None)
def test_no_address_that_python_knows_for_special_is_public(number: int) -> None:
    address = IPv4Address(number)
    what = kind(str(address))
    if what is Kind.PUBLIC:
        assert address.is_global
        assert not address.is_multicast
    assert kind(f"::ffff:{address}") is what


@given(st.integers(0, 2**128 - 1) | st.integers(0, 2**64).map(lambda low: 0xFE80 << 112 | low))
@settings(max_examples=300, deadline=None)
def test_no_ipv6_address_outside_global_unicast_is_public(number: int) -> None:
    address = IPv6Address(number)
    if kind(str(address)) is Kind.PUBLIC:
        assert number >> 125 == 1 or address.ipv4_mapped is not None or number >> 32 == 0x0064FF9B << 64
        assert not address.is_link_local


# -- what may be connected to

ONLY_OWN = [
    ("localhost", "127.0.0.1"), ("localhost", "::1"), ("LOCALHOST.", "127.0.0.1"), ("docs.localhost", "127.0.0.1"),
    ("127.0.0.1", "127.0.0.1"), ("127.1.2.3", "127.1.2.3"), ("::1", "::1"), ("10.0.0.1", "10.0.0.1"), ("fd12::1", "fd12::1"),
]  # fmt: skip
MISLED = [
    ("docs.example", "127.0.0.1", "give its address instead"),
    ("localhost.example", "127.0.0.1", "give its address instead"),
    ("notlocalhost", "::1", "give its address instead"),
    ("docs.example", "::ffff:127.0.0.1", "give its address instead"),
    ("docs.example", "64:ff9b::7f00:1", "give its address instead"),
    ("docs.example", "169.254.169.254", "never asked"),
    ("localhost", "169.254.169.254", "never asked"),
    ("localhost", "0.0.0.0", "never asked"),
    ("docs.example", "fd00:ec2::254", "never asked"),
    ("169.254.169.254", "169.254.169.254", "never asked"),
    ("fe80::1", "fe80::1", "never asked"),
    ("::ffff:a9fe:a9fe", "::ffff:a9fe:a9fe", "never asked"),
    ("::ffff:7f00:1", "::ffff:7f00:1", "give that address itself"),
    ("::ffff:a00:1", "::ffff:a00:1", "give that address itself"),
    ("2002:a00:1::", "2002:a00:1::", "give that address itself"),
]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("host", "address"), [*ONLY_OWN, ("docs.example", "8.8.8.8"), ("localhost", "8.8.8.8")])
def test_what_a_url_names_itself_may_be_connected_to(host: str, address: str, inside: bool) -> None:
    assert refused(host, address, inside=inside) is None


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("host", "address", "said"), MISLED)
def test_nothing_else_on_this_machine_nor_what_is_never_asked(host: str, address: str, said: str, inside: bool) -> None:
    message = refused(host, address, inside=inside)
    assert message is not None
    assert said in message
    assert host in message
    assert message.endswith(".")


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_may_lead_to_a_private_address_only_where_the_user_gave_it(address: str) -> None:
    assert refused("wiki.example", address, inside=True) is None
    said = refused("wiki.example", address, inside=False)
    assert said is not None
    assert "index the site again" in said


@pytest.mark.parametrize("host", [*(host for host, _ in ONLY_OWN), "169.254.169.254", "::ffff:a00:1", "0.0.0.0"])
def test_a_host_that_says_that_it_is_inside_is_none_for_another_site(host: str) -> None:
    assert refused_elsewhere(host) is not None


@pytest.mark.parametrize("host", ["docs.example", "8.8.8.8", "2606:4700::1111", "localhost.example"])
def test_a_host_that_may_be_public_is_looked_up_for_another_site(host: str) -> None:
    assert refused_elsewhere(host) is None


def test_this_machine_is_known_by_its_name_and_addresses() -> None:
    assert [host for host in ("localhost", "a.localhost", "localhost.", "127.9.9.9", "::1") if not is_this_machine(host)] == []
    assert [
        host for host in ("localhost.org", "xlocalhost", "128.0.0.1", "::2", "::ffff:127.0.0.1") if is_this_machine(host)
    ] == []


# -- spellings


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0X7F000001", "017700000001", "127.1", "127.0.1", "0177.0.0.1", "0x7f.1", "0x7f.0.0.0x1",
        "127.0.0.0x1", "127.0.0.1.", "127.0.0.01", "127.000.000.001", "0", "0x", "1.2.3.4.5", "256.1.1.1", "a.1", "a.0xf", "1.",
        "１２７.１", "127。1", "2852039166", "0xa9fea9fe", "%31%32%37.1", "①.1", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[v1.x]",
        "[127.0.0.1]", "[::1", "x[::1]", "[::1]x", "[]", "[::ffff:0177.0.0.1]",
    ],
)  # fmt: skip
def test_an_address_in_an_unusual_spelling_is_no_host(host: str) -> None:
    assert canonical(f"http://{host}/a") is None
    assert canonical(f"//{host}:8000/", "http://x.org/") is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"), ("１２７.0.0.1", "127.0.0.1"), ("127。0。0。1", "127.0.0.1"), ("①②⑦.0.0.1", "127.0.0.1"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"), ("[::0001]", "[::1]"), ("[2001:DB8:0:0:1::]", "[2001:db8:0:0:1::]"),
        ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"), ("[::FFFF:7F00:0001]", "[::ffff:7f00:1]"),
        ("[::ffff:0.0.0.0]", "[::ffff:0:0]"), ("[::127.0.0.1]", "[::7f00:1]"), ("1.2.3.a", "1.2.3.a"), ("0x7g", "0x7g"),
        ("1e1", "1e1"), ("x0", "x0"),
    ],
)  # fmt: skip
def test_an_address_has_one_spelling(host: str, expected: str) -> None:
    assert canonical(f"http://{host}/a") == f"http://{expected}/a"
    assert canonical(f"http://{expected}/a") == f"http://{expected}/a"


NUMBERS = st.integers(0, 2**32 - 1) | st.integers(0, 300)
PARTS = st.builds(
    lambda number, form: form(number),
    NUMBERS,
    st.sampled_from([str, hex, lambda n: f"0{n:o}", lambda n: f"0X{n:X}", lambda n: f"{n:03}", lambda n: f"00{n}"]),
)


@given(st.lists(PARTS, min_size=1, max_size=5), st.sampled_from([".", "。", "．"]), st.sampled_from(["", ".", "。"]))
@example(["0x7f", "1"], ".", "")
@settings(max_examples=300, deadline=None)
def test_no_host_is_read_as_an_ipv4_address_in_another_spelling(parts: list[str], dot: str, end: str) -> None:
    url = canonical(f"http://{dot.join(parts)}{end}/")
    if url is None:
        return
    host = urlsplit(url).hostname or ""
    assert str(ip_address(host)) == host
    assert socket.inet_ntoa(socket.inet_aton(host)) == host


@given(st.text(st.sampled_from("0123456789abcdefxX.:[]%１。٣-"), min_size=1, max_size=24))
@settings(max_examples=500, deadline=None)
def test_whatever_is_written_for_a_host_what_is_asked_is_what_it_says(text: str) -> None:
    url = canonical(f"http://{text}/")
    if url is None:
        return
    host = urlsplit(url).hostname or ""
    try:  # inet_aton takes whatever a resolver takes
        read = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return
    assert read == host
