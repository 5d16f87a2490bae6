"""Which addresses docworker may connect to, so that no site leads it inside. Pure; who resolves and connects is `fetcher`.

    never      link-local and multicast addresses, those that are no host's, and where clouds tell their secrets
    loopback   only for a URL of the docset's own host that names this machine itself: `localhost`, `127.0.0.1`, `::1`
    private    only for one that names that address itself, or a docset that the user gave although its name led there (`inside`)
    public     always

An IPv6 address that holds an IPv4 address is judged by both. What the registries do not tell to be public is not
(IANA IPv4 and IPv6 Special-Purpose Address Registries).
"""

from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address


class Kind(IntEnum):
    """What an address is, the more dangerous the higher."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    NEVER = 3


# Link-local, multicast, reserved; and outside of these where Alibaba, Oracle and Azure tell an instance about itself.
_NEVER_V4 = tuple(map(IPv4Network, (
    "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32",
)))  # fmt: skip
_PRIVATE_V4 = tuple(map(IPv4Network, (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15",
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation
)))  # fmt: skip
_LOOPBACK_V4 = IPv4Network("127.0.0.0/8")
_LOOPBACK_V6 = IPv6Address("::1")
_NEVER_V6 = IPv6Address("fd00:ec2::254")  # AWS
_PRIVATE_V6 = (IPv6Network("fc00::/7"), IPv6Network("fec0::/10"))
_UNICAST_V6 = IPv6Network("2000::/3")  # all that IANA gives out; the rest is special or reserved
_COMPATIBLE, _NAT64, _LOCAL_NAT64 = IPv6Network("::/96"), IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48")


def kind(address: str) -> Kind:
    """What an address, as the resolver writes it, is; what is no address is never asked."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return Kind.NEVER
    return _v4(found) if isinstance(found, IPv4Address) else _v6(found)


def _v4(address: IPv4Address) -> Kind:
    if address in _LOOPBACK_V4:
        return Kind.LOOPBACK
    if any(address in network for network in _NEVER_V4):
        return Kind.NEVER
    private = any(address in network for network in _PRIVATE_V4) or not address.is_global
    return Kind.PRIVATE if private else Kind.PUBLIC


def _v6(address: IPv6Address) -> Kind:
    if address == _LOOPBACK_V6:
        return Kind.LOOPBACK
    if address == _NEVER_V6:
        return Kind.NEVER
    own = Kind.PUBLIC
    if any(address in network for network in (*_PRIVATE_V6, _LOCAL_NAT64)):
        own = Kind.PRIVATE
    elif address in _UNICAST_V6:  # of old ways to carry IPv4, 6to4 is judged by what it carries alone
        own = Kind.PUBLIC if address.is_global or address.sixtofour is not None else Kind.PRIVATE
    elif not carried(address) or address in _COMPATIBLE:
        own = Kind.NEVER
    return max(own, *map(_v4, carried(address)), Kind.PUBLIC)


def carried(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address leads to: mapped, compatible, NAT64 (RFC 6052, 8215), 6to4, Teredo."""
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    compatible = address in _COMPATIBLE and number > 1  # `::` and `::1` are themselves
    if address.ipv4_mapped is not None or compatible or address in _NAT64:
        return (low,)
    if address in _LOCAL_NAT64:  # the network may be cut at /96, or at /48, where 8 bits stand between the halves
        high = IPv4Address((number >> 48 & 0xFFFF0000) | (number >> 40 & 0xFFFF))
        return tuple(each for each in (low, high) if int(each))
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return address.teredo or ()


def literal(host: str) -> Address | None:
    """The address that a URL's host is, without brackets; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_this_machine(host: str) -> bool:
    """Whether a URL's host says that it is this machine: `localhost` and names below it, or its address in the usual form."""
    address = literal(host)
    if address is not None:
        return address in _LOOPBACK_V4 if isinstance(address, IPv4Address) else address == _LOOPBACK_V6
    return f".{host.removesuffix('.').lower()}".endswith(".localhost")


def refused(host: str, address: str, *, inside: bool) -> str | None:
    """Why the `address` that a URL's host leads to is not connected to, as a sentence that says what to do; None when it may be.

    `inside`: the user gave the docset although its name led to a private address.
    """
    given = literal(host)
    subject = f"{host} is" if given is not None else f"{host} leads to {address},"
    match kind(address):
        case Kind.PRIVATE | Kind.LOOPBACK if isinstance(given, IPv6Address) and carried(given):
            return f"{subject} another spelling of an address inside, which is not asked: give that address itself."
        case Kind.NEVER:
            return f"{subject} link-local, reserved or a cloud's metadata, which is never asked: give the site's own address."
        case Kind.LOOPBACK if not is_this_machine(host):
            return f"{subject} this machine itself: if that is meant, give its address instead, such as http://127.0.0.1:8000/."
        case Kind.PRIVATE if given is None and not inside:
            return f"{subject} a private address, which is asked only if the user gives it: if it is meant, index the site again."
    return None


def refused_elsewhere(host: str) -> str | None:
    """The same for a host that is not the docset's own, as far as it says so itself: nobody gave it, so it has to be public."""
    address = literal(host)
    if is_this_machine(host) if address is None else kind(host) is not Kind.PUBLIC:
        return f"{host} is inside, where no site of another host may lead: if it is meant, index it by itself."
    return None
