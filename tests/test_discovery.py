"""Which links of a page are followed, and which pages a sitemap names."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.crawl.discovery import MAX_LINKS, MAX_SITEMAP_BYTES, MAX_SITEMAP_URLS, pages_to_follow, read_sitemap

SITE = "https://x.org"
NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
A, B = "https://x.org/docs/a", "https://x.org/docs/b"


def follow(*links: str, paths: tuple[str, ...] = ("/docs",)) -> tuple[str, ...]:
    found, dropped = pages_to_follow(links, SITE, paths)
    assert dropped == 0
    return found


# -- links


def test_pages_come_back_in_page_order_each_once() -> None:
    links = ("https://x.org/docs/b", "https://x.org/docs/a#one", "https://x.org/docs/b#two", "https://X.org:443/docs/./a")
    assert follow(*links) == ("https://x.org/docs/b", "https://x.org/docs/a")


def test_spellings_of_one_url_come_back_once() -> None:
    links = ("https://x.org/docs/a?b=1&a=2", "https://x.org/docs/a?a=2&b=1", "https://x.org/docs/a?utm_source=x&b=1&a=2#part")
    assert follow(*links) == ("https://x.org/docs/a?a=2&b=1",)


@pytest.mark.parametrize(
    "link",
    [
        "https://x.org/blog/a",
        "https://x.org/docsets",
        "https://y.org/docs/a",
        "http://x.org/blog/a",
        "http://y.org/docs/a",
        "http://x.org:8080/docs/a",
        "https://x.org/docs/../blog",
        "https://user@x.org/docs/a",
        "mailto:docs@x.org",
        "http://[user@]host/docs",
        "docs/a",
        "",
    ],
)
def test_a_link_out_of_scope_or_without_a_canonical_form_is_left_out(link: str) -> None:
    assert follow(link) == ()


def test_a_link_from_https_to_http_on_the_same_host_stays_on_https() -> None:
    assert follow("http://x.org/docs/a", "https://x.org/docs/a") == ("https://x.org/docs/a",)


def test_a_link_from_http_to_https_on_the_same_host_is_another_page_of_the_site() -> None:
    links = ("http://x.org/docs/a", "https://x.org/docs/a")
    assert pages_to_follow(links, "http://x.org", ("/docs",)) == (links, 0)


@pytest.mark.parametrize("name", ["a.pdf", "a.PNG", "a.tar.gz", "a.zip", "a.whl", "style.css", "a.mp4", "a.woff2"])
@pytest.mark.parametrize("end", ["", "?v=1", "#page=3"])
def test_a_file_that_is_never_a_page_is_left_out(name: str, end: str) -> None:
    assert follow(f"https://x.org/docs/{name}{end}") == ()


@pytest.mark.parametrize("name", ["a.html", "a.php", "v1.2", "a", "numpy.zip-function", "pdf", "show?file=a.pdf", "a.pdf/view"])
def test_what_may_be_a_page_is_followed(name: str) -> None:
    assert follow(f"https://x.org/docs/{name}") == (f"https://x.org/docs/{name}",)


def test_any_allowed_path_is_enough() -> None:
    links = ("https://x.org/docs/a", "https://x.org/api/b", "https://x.org/blog")
    assert follow(*links, paths=("/docs", "/api")) == links[:2]


def test_at_most_10_000_pages_come_back_and_the_others_are_counted() -> None:
    links = [f"https://x.org/docs/{number}" for number in range(MAX_LINKS + 5)]
    found, dropped = pages_to_follow(links, SITE, ("/docs",))
    assert found == tuple(links[:MAX_LINKS])
    assert dropped == 5


def test_only_pages_that_would_be_followed_are_counted_as_dropped_each_once() -> None:
    links = [f"https://x.org/docs/{number}" for number in range(MAX_LINKS + 3)]
    more = [links[-1], links[0], links[-1] + "#part", "https://x.org/blog", "https://x.org/docs/a.pdf", "mailto:x@x.org"]
    found, dropped = pages_to_follow([*links, *more], SITE, ("/docs",))
    assert (len(found), dropped) == (MAX_LINKS, 3)


# -- sitemaps


def sitemap(*urls: str, name: str = "urlset", attributes: str = NAMESPACE) -> bytes:
    """A sitemap in XML, with what stands beside `loc` in real ones; of `name` sitemapindex an index of sitemaps."""
    entry = "url" if name == "urlset" else "sitemap"
    body = "".join(
        f"  <{entry}>\n    <loc>{url}</loc>\n    <lastmod>2024-01-01</lastmod>\n    <changefreq>daily</changefreq>\n"
        f"    <priority>0.5</priority>\n  </{entry}>\n"
        for url in urls
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} {attributes}>\n{body}</{name}>\n'.encode()


@pytest.mark.parametrize(
    "attributes",
    [NAMESPACE, "", 'xmlns="http://www.google.com/schemas/sitemap/0.84"', NAMESPACE.replace("http", "https", 1)],
    ids=["namespace", "no namespace", "old namespace", "wrong namespace"],
)
def test_a_sitemap_names_pages_in_its_order_whatever_its_namespace(attributes: str) -> None:
    assert read_sitemap(sitemap(B, A, B, attributes=attributes)) == ((B, A, B), ())


def test_an_index_names_further_sitemaps() -> None:
    further = ("https://x.org/sitemap-1.xml", "https://x.org/sitemap-2.xml.gz")
    assert read_sitemap(sitemap(*further, name="sitemapindex")) == ((), further)


def test_a_prefix_for_the_namespace_changes_nothing() -> None:
    body = f"<s:urlset {NAMESPACE.replace('xmlns=', 'xmlns:s=')}><s:url><s:loc>{A}</s:loc></s:url></s:urlset>"
    assert read_sitemap(body.encode()) == ((A,), ())


def test_only_the_address_of_the_page_is_taken_not_those_of_its_pictures_and_translations() -> None:
    body = f"""<urlset {NAMESPACE} xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"
      xmlns:video="http://www.google.com/schemas/sitemap-video/1.1" xmlns:xhtml="http://www.w3.org/1999/xhtml">
      <url><image:image><image:loc>https://x.org/docs/first.png</image:loc></image:image><loc>{A}</loc>
        <image:image><image:loc>https://x.org/docs/a.png</image:loc><image:title>A</image:title></image:image>
        <video:video><video:player_loc>https://x.org/docs/player</video:player_loc></video:video>
        <xhtml:link rel="alternate" hreflang="de" href="https://x.org/de/docs/a"/></url>
      <url><loc>{B}</loc></url></urlset>"""
    assert read_sitemap(body.encode()) == ((A, B), ())


def test_white_space_escapes_and_cdata_around_an_address_are_undone() -> None:
    body = f"""<urlset><url><loc>
      {A}?x=1&amp;y=2
    </loc></url><url><loc><![CDATA[{B}?x=1&y=2]]></loc></url><url><loc>{A}&#47;c</loc></url></urlset>"""
    assert read_sitemap(body.encode()) == ((f"{A}?x=1&y=2", f"{B}?x=1&y=2", f"{A}/c"), ())


@pytest.mark.parametrize("loc", ["<loc/>", "<loc></loc>", "", "<!-- <loc>https://x.org/old</loc> -->"])
def test_an_entry_without_an_address_names_nothing(loc: str) -> None:
    assert [url for url in read_sitemap(f"<urlset><url>{loc}</url><url><loc>{A}</loc></url></urlset>".encode())[0] if url] == [A]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\n\n  ", b"\xef\xbb\xbf\r\n"], ids=["mark", "space", "both"])
def test_a_byte_order_mark_or_white_space_first_does_not_make_it_text(mark: bytes) -> None:
    assert read_sitemap(mark + sitemap(A).removeprefix(b'<?xml version="1.0" encoding="UTF-8"?>\n')) == ((A,), ())


@pytest.mark.parametrize("cut", [0, 3, 20])
def test_of_a_sitemap_that_is_cut_off_the_part_before_is_taken(cut: int) -> None:
    whole = sitemap(A, B, "https://x.org/docs/last")
    assert read_sitemap(whole[: whole.index(b"docs/last") - cut]) == ((A, B), ())


def test_every_beginning_of_a_sitemap_names_a_beginning_of_its_pages() -> None:
    whole = sitemap(A, B)
    for end in range(len(whole)):
        named, further = read_sitemap(whole[:end])
        assert named == (A, B)[: len(named)]
        assert further == ()


@pytest.mark.parametrize("broken", ["<url><loc>https://x.org/?a=1&b=2</loc></url>", "</oops>", "<url", "\x00", "&unknown;"])
def test_what_comes_before_an_error_is_taken(broken: str) -> None:
    named, _ = read_sitemap(f"<urlset><url><loc>{A}</loc></url>{broken}<url><loc>{B}</loc></url></urlset>".encode())
    assert named in ((A,), (A, B))


def test_text_names_a_page_a_line() -> None:
    body = f"# pages\n{A}\r\n\n  {B}  \nftp://x.org/c\n/docs/d\nnot an address\n"
    assert read_sitemap(body.encode()) == ((A, B), ())


def test_a_byte_order_mark_before_text_does_not_hide_the_first_page() -> None:
    assert read_sitemap(b"\xef\xbb\xbf" + f"{A}\n{B}\n".encode()) == ((A, B), ())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"Not found",
        b"\x00\x01\x02",
        b"\x89PNG\r\n\x1a\n",
        b"<!DOCTYPE html><html><body><p>Not found<br><a href='https://x.org/docs/a'>a</a></html>",
        b"<html><head><loc>https://x.org/docs/a</loc></head></html>",
        b"<rss><channel><item><link>https://x.org/docs/a</link></item></channel></rss>",
    ],
)
def test_what_is_no_sitemap_names_nothing(body: bytes) -> None:
    assert read_sitemap(body) == ((), ())


@pytest.mark.parametrize("encoding", ["UTF-8", "utf8", "US-ASCII", "ISO-8859-1", "windows-1252"])
def test_a_sitemap_is_read_in_the_encoding_that_it_declares(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?><urlset><url><loc>{A}</loc></url></urlset>'
    assert read_sitemap(body.encode()) == ((A,), ())


@pytest.mark.parametrize("encoding", ["no-such-encoding", "GB2312", "Shift_JIS", "EUC-KR", "utf-7"])
def test_an_encoding_that_the_parser_does_not_know_harms_nothing(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?><urlset><url><loc>{A}</loc></url></urlset>'
    named, further = read_sitemap(body.encode())
    assert named in ((), (A,))
    assert further == ()


@given(st.binary(max_size=200), st.sampled_from([b"", b"<urlset><url><loc>", b"<?xml version='1.0'?>", b"https://x.org/"]))
@settings(max_examples=100, deadline=None)
def test_no_bytes_raise(body: bytes, before: bytes) -> None:
    named, further = read_sitemap(before + body)
    assert all(isinstance(url, str) for url in (*named, *further))


@pytest.mark.parametrize("body", [sitemap(A, B), f"{A}\n{B}\n".encode()], ids=["XML", "text"])
def test_a_sitemap_may_be_packed(body: bytes) -> None:
    assert read_sitemap(gzip.compress(body)) == ((A, B), ())


def test_of_a_packed_sitemap_that_is_cut_off_the_part_before_is_taken() -> None:
    urls = tuple(f"https://x.org/docs/{number}" for number in range(5_000))
    packed = gzip.compress(sitemap(*urls))
    named, further = read_sitemap(packed[: len(packed) // 2])
    assert named == urls[: len(named)]
    assert 1_000 < len(named) < 4_000
    assert further == ()


@pytest.mark.parametrize(
    "body",
    [b"\x1f\x8b", b"\x1f\x8bnot packed at all", gzip.compress(b""), gzip.compress(b"\x00" * 100)],
    ids=["no more than its head", "not packed", "of nothing", "of no text"],
)
def test_what_is_packed_and_no_sitemap_names_nothing(body: bytes) -> None:
    assert read_sitemap(body) == ((), ())


def test_a_packed_sitemap_is_unpacked_no_further_than_a_sitemap_may_be_large() -> None:
    head = b"<urlset><url><loc>" + A.encode() + b"</loc></url><!--"
    packed = gzip.compress(
        head + b"x" * (MAX_SITEMAP_BYTES + 2**20) + b"--><url><loc>" + B.encode() + b"</loc></url></urlset>", 1
    )
    assert len(packed) < 2**20
    assert read_sitemap(packed) == ((A,), ())


def test_at_most_as_many_pages_are_taken_as_one_file_may_name() -> None:
    urls = [f"https://x.org/{number}" for number in range(MAX_SITEMAP_URLS + 10)]
    body = "<urlset>" + "".join(f"<url><loc>{url}</loc></url>" for url in urls) + "</urlset>"
    assert read_sitemap(body.encode())[0] == tuple(urls[:MAX_SITEMAP_URLS])
    assert read_sitemap("\n".join(urls).encode())[0] == tuple(urls[:MAX_SITEMAP_URLS])


def bomb(*, levels: int = 0, times: int = 0, size: int = 0) -> bytes:
    """A sitemap whose second page is an entity: ten times the one below it, on `levels` levels, or `times` one of `size`."""
    entities = ['<!ENTITY e0 "https://x.org/bomb">' if not size else f'<!ENTITY e0 "{"y" * size}">']
    entities += [f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, levels + 1)]
    head = f'<?xml version="1.0"?><!DOCTYPE urlset [{"".join(entities)}]>'
    return f"{head}<urlset><url><loc>{A}</loc></url><url><loc>{f'&e{levels};' * max(1, times)}</loc></url></urlset>".encode()


def test_an_entity_bomb_names_nothing() -> None:
    assert read_sitemap(bomb(levels=30)) == ((), ())


@pytest.mark.parametrize("kind", ["SYSTEM", "PUBLIC 'x'"])
def test_an_entity_that_names_a_file_is_never_read(kind: str) -> None:
    body = f'<!DOCTYPE urlset [<!ENTITY e {kind} "file:///etc/hostname">]><urlset><url><loc>{A}</loc></url>'
    assert read_sitemap(f"{body}<url><loc>https://x.org/&e;</loc></url></urlset>".encode()) == ((), ())


@pytest.mark.parametrize("body", [bomb(), bomb(size=1_000, times=5_000)], ids=["small", "five million characters"])
def test_entities_are_not_expanded(body: bytes) -> None:
    named, _ = read_sitemap(body)
    assert [url for url in named if "bomb" in url or len(url) > 2_048] == []
