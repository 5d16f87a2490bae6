"""URLs: their canonical form and the scope test. Pure.

One page has one canonical URL. Two spellings that RFC 3986 section 6.2.2 calls equivalent are one canonical URL:
scheme and host in lower case, no default port, no dot segments, one form of percent-encoding, no fragment. Beyond it,
parameters that only say where a reader came from are dropped and the others stand in the order of their names. An address
stands for itself only in its usual spelling.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

import idna

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_URL_CHARS = 2_048
_FILE = re.compile(r"\.(x?html?|php|aspx?|jsp|md|txt)$", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
# WHATWG URL section 3.5 "ends in a number": a resolver reads such a host as an IPv4 address, `127.1` and `0x7f000001` too.
_NUMBER_LAST = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")
_BRACKETS = re.compile(r"\[[^\[\]]*\](:[0-9]*)?")
# RFC 3986 section 3.3: what may stand unescaped in a path; in a query also `?`. `%` never: it is decoded first.
_PATH_SAFE = "/:@!$&'()*+,;=~-._"
# What advertising, mail and analytics append to links; no page depends on it.
_TRACKING = re.compile(
    r"utm_\w+|gclid|gbraid|wbraid|dclid|fbclid|msclkid|yclid|twclid|igshid|mc_[ce]id|mkt_tok|_ga|_gl|_hs(enc|mi)|vero_id|ref_src",
    re.IGNORECASE,
)
_DIRECTORY_INDEX = re.compile(r"(?<=/)(index|default)\.(x?html?|php|aspx?|jsp)$", re.IGNORECASE)
_PAGE_SUFFIX = re.compile(r"\.x?html?$", re.IGNORECASE)
_ESCAPED_RESERVED = re.compile(r"%(2[Ff3]|3[Ff]|25|26|3[Dd]|2[Bb]|3[Bb])")


def canonical(url: str, base: str | None = None) -> str | None:
    """The canonical form of `url`, resolved against `base`; None for what is not a page on the web.

    None: other schemes than http and https, user info, a malformed host or port, an IPv4 address in another spelling than
    four decimal numbers, an IPv6 address with a zone, over 2,048 characters.
    """
    try:
        parts = urlsplit(urljoin(base, url.strip()) if base else url.strip())
        port = parts.port
        host = parts.hostname or ""
        host = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
        if "xn--" in host:  # httpx cannot ask a host that it cannot read
            idna.decode(host)
        host = _one_address(host) if "[" in parts.netloc or _NUMBER_LAST.fullmatch(host) else host
        path = _without_dot_segments(_one_encoding(parts.path, _PATH_SAFE)) or "/"
        query = _one_order(_one_encoding(parts.query, _PATH_SAFE + "?"))
    except (ValueError, UnicodeError):
        return None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or parts.username is not None or parts.password is not None:
        return None
    if not (_HOST.fullmatch(host) or ":" in host):
        return None
    if "[" in parts.netloc and not _BRACKETS.fullmatch(parts.netloc):
        return None
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        netloc += f":{port}"
    result = urlunsplit((scheme, netloc, path, query, ""))
    return result if len(result) <= _MAX_URL_CHARS else None


def _one_address(host: str) -> str:
    """An address in its usual spelling. Raises ValueError for an IPv4 address in another, for one with a zone, and for none."""
    if ":" not in host:
        return str(IPv4Address(host))
    address = IPv6Address(host)
    if address.scope_id is not None:
        raise ValueError("a zone means something on one machine only")
    if address.ipv4_mapped is not None:  # newer Pythons write it half in decimal
        high, low = divmod(int(address.ipv4_mapped), 0x10000)
        return f"::ffff:{high:x}:{low:x}"
    return address.compressed


def _one_encoding(text: str, safe: str) -> str:
    """Percent-encode what must be and nothing else; an escaped reserved character stays escaped (`%2F` is not `/`)."""
    pieces = _ESCAPED_RESERVED.split(text)
    encoded = [quote(unquote_to_bytes(piece), safe=safe) for piece in pieces[::2]]
    reserved = ["%" + code.upper() for code in pieces[1::2]]
    return "".join(a + b for a, b in zip(encoded, [*reserved, ""], strict=True))


def _one_order(query: str) -> str:
    """The parameters by name, those of one name in their order, without the empty ones and those that only track."""
    named = [part for part in query.split("&") if part and not _TRACKING.fullmatch(part.partition("=")[0])]
    return "&".join(sorted(named, key=lambda part: part.partition("=")[0]))


def _without_dot_segments(path: str) -> str:
    """RFC 3986 section 5.2.4, also for paths that urljoin leaves alone (absolute URLs)."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)


def origin(url: str) -> str:
    """`scheme://host[:port]` of a canonical URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def on_site(url: str, site_origin: str) -> str | None:
    """A canonical URL as a page of a site, None when it is not one.

    http and https of one host and port count as one, upward only: on an https site a link to http means https, and an
    http site may lead to its https pages.
    """
    parts, site = urlsplit(url), urlsplit(site_origin)
    if parts.netloc != site.netloc:
        return None
    return "https" + url.removeprefix("http") if (parts.scheme, site.scheme) == ("http", "https") else url


def spelling(url: str) -> str:
    """What the usual spellings of one page have in common: `/a/`, `/a`, `/a/index.html` and `/a.html` have the same."""
    head, mark, query = url.partition("?")
    head = _PAGE_SUFFIX.sub("", _DIRECTORY_INDEX.sub("", head))
    return head.removeprefix("https:").removeprefix("http:").rstrip("/") + mark + query


def path_of(url: str) -> str:
    """The path of a canonical URL, with its query when it has one."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def default_allowed_path(seed_path: str) -> str:
    """The seed's directory: `/docs/start` → `/docs`, `/en/stable/` → `/en/stable`, `/` and `/index.html` → `/`.

    A seed directly under the root that is no file (`/docs`) is taken for a directory itself.
    """
    directory, _, name = seed_path.rpartition("/")
    if not directory and name and not _FILE.search(name):
        return seed_path
    return directory or "/"


def covers(prefix: str, path: str) -> bool:
    """Whether `path` lies below `prefix` by whole segments: `/docs` covers `/docs` and `/docs/x`, not `/docsets`."""
    trimmed = prefix.rstrip("/")
    return path == trimmed or path.startswith(trimmed + "/")


def in_scope(url: str, site_origin: str, allowed_paths: tuple[str, ...]) -> bool:
    """Whether a canonical URL is on the docset's site (see `on_site`) and below one of its allowed paths."""
    return on_site(url, site_origin) is not None and any(covers(prefix, urlsplit(url).path) for prefix in allowed_paths)


def with_anchor(url: str, anchor: str | None) -> str:
    """`url` citing a section; the anchor (as in the page's `id`) is encoded as RFC 3986 section 3.5 wants it."""
    return url if anchor is None else f"{url}#{quote(anchor, safe=_PATH_SAFE + '?')}"
