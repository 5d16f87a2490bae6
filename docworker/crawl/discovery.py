"""Which URLs a page and a sitemap name. Pure."""

import re
import zlib
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError, ParserCreate

from docworker.urls import canonical, covers, on_site

# More links than any page written for readers has; a page with more is a trap or an index of everything.
MAX_LINKS = 10_000
# The most that one file may name and hold by the sitemap protocol (sitemaps.org).
MAX_SITEMAP_URLS, MAX_SITEMAP_BYTES = 50_000, 50 * 2**20
_PIECE_BYTES = 64 * 2**10
_MAX_LOCATION, _MAX_SITEMAP_DEPTH, _MAX_TAG_BYTES = 10_000, 10, 2**20
# Never a page of HTML: asking would only cost the site. Anything else is judged by its content type.
_NOT_PAGES = re.compile(
    r"\.(7z|avi|bmp|bz2|css|csv|deb|dmg|docx?|eot|epub|exe|gif|gz|ico|inv|iso|jar|jpe?g|mov|mp[34]|msi|odt|ogg|otf|pdf|png|pptx?"
    r"|ps|rar|rpm|svg|tar|tgz|tiff?|ttf|wasm|wav|webm|webp|whl|woff2?|xlsx?|xz|zip|zst)$",
    re.IGNORECASE,
)


def pages_to_follow(links: Iterable[str], site_origin: str, allowed_paths: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Canonical URLs in scope, each once, in page order; links that cannot be pages are left out.

    `links` are absolute URLs as the page has them. At most 10,000 come back; the number says how many more there were.
    """
    found: dict[str, None] = {}
    for link in links:
        url = canonical(link)
        url = None if url is None else on_site(url, site_origin)
        if url is None:
            continue
        path = urlsplit(url).path
        if any(covers(prefix, path) for prefix in allowed_paths) and not _NOT_PAGES.search(path):
            found[url] = None
    urls = tuple(found)
    return urls[:MAX_LINKS], max(0, len(urls) - MAX_LINKS)


def read_sitemap(body: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(pages, further sitemaps) that a sitemap names: an XML file, an index of files, or plain text with a URL a line.

    It may be packed with gzip. What comes before an error in the file, or before its end when it is cut off, is taken. One with
    a DTD names nothing.
    """
    if body.startswith(b"\x1f\x8b"):
        body = _unpacked(body)
    if not body.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith((b"<", b"\x00<")):
        lines = (line.strip() for line in body.decode("utf-8-sig", "replace").splitlines())
        return tuple(line for line in lines if line.startswith(("http://", "https://")))[:MAX_SITEMAP_URLS], ()
    locations = _Locations()
    with suppress(ExpatError, LookupError, ValueError):  # the latter two: encodings that expat does not know
        for begin in range(0, len(body), _PIECE_BYTES):
            locations.parser.Parse(body[begin : begin + _PIECE_BYTES])
            if begin - locations.parser.CurrentByteIndex > _MAX_TAG_BYTES:
                break
    return tuple(locations.named["url"]), tuple(locations.named["sitemap"])


class _Locations:
    """What stands in `<url><loc>` and `<sitemap><loc>`, whatever their namespace. A file with a DTD names nothing."""

    def __init__(self) -> None:
        self.named: dict[str, list[str]] = {"url": [], "sitemap": []}
        self._above: list[str] = []
        self._text = ""
        self.parser = ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _refuse(self, *_: object) -> None:
        raise ValueError("a sitemap has no DTD")  # which could make 5 MB of text out of 5 KB

    def _start(self, name: str, _: object) -> None:
        if len(self.named["url"]) == MAX_SITEMAP_URLS:
            raise ValueError("a sitemap names at most 50,000 pages")
        if len(self._above) == _MAX_SITEMAP_DEPTH:
            raise ValueError("a sitemap is not nested")
        self._above.append(name.rpartition(":")[2])
        self._text = ""

    def _characters(self, text: str) -> None:
        if len(self._text) < _MAX_LOCATION:
            self._text += text

    def _end(self, _: str) -> None:
        name, above = self._above.pop(), self._above[-1:]
        if name == "loc" and above and above[0] in self.named:  # not <image:loc>, which stands in <image:image>
            self.named[above[0]].append(self._text.strip())


def _unpacked(body: bytes) -> bytes:
    """What gzip packed, up to the limit, to an error or to where it is cut off."""
    unpack, whole = zlib.decompressobj(zlib.MAX_WBITS | 16), bytearray()
    with suppress(zlib.error):
        for begin in range(0, len(body), _PIECE_BYTES):
            whole += unpack.decompress(body[begin : begin + _PIECE_BYTES], MAX_SITEMAP_BYTES - len(whole) or 1)
            if len(whole) >= MAX_SITEMAP_BYTES:
                break
    return bytes(whole)
