"""One page has one canonical URL; scope goes by whole path segments."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from docworker.urls import canonical, covers, default_allowed_path, in_scope, on_site, origin, path_of, spelling, with_anchor


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Docs.Example.ORG/Guide", "https://docs.example.org/Guide"),
        ("https://x.org", "https://x.org/"),
        ("https://x.org?q=1", "https://x.org/?q=1"),
        ("  https://x.org/a\n", "https://x.org/a"),
        ("http://x.org:80/a", "http://x.org/a"),
        ("https://x.org:443/a", "https://x.org/a"),
        ("https://x.org:/a", "https://x.org/a"),
        ("https://x.org:80/a", "https://x.org:80/a"),
        ("http://x.org:8080/a", "http://x.org:8080/a"),
        ("https://[::1]:8080/a", "https://[::1]:8080/a"),
        ("https://x.org/a/./b/../c", "https://x.org/a/c"),
        ("https://x.org/../../a", "https://x.org/a"),
        ("https://x.org/a/b/..", "https://x.org/a/"),
        ("https://x.org/a/.", "https://x.org/a/"),
        ("https://x.org/a/%2e%2E/b", "https://x.org/b"),
        ("https://x.org/a//b", "https://x.org/a//b"),
        ("https://x.org/a/", "https://x.org/a/"),
        ("https://x.org/%7euser/%41", "https://x.org/~user/A"),
        ("https://x.org/é", "https://x.org/%C3%A9"),
        ("https://x.org/%c3%a9", "https://x.org/%C3%A9"),
        ("https://x.org/a b", "https://x.org/a%20b"),
        ("https://x.org/100%", "https://x.org/100%25"),
        ("https://x.org/100%25", "https://x.org/100%25"),
        ("https://x.org/a%252Fb", "https://x.org/a%252Fb"),
        ("https://x.org/a%2fb%3fc%23d", "https://x.org/a%2Fb%3Fc%23d"),
        ("https://x.org/?a=b%26c%3dd%2be", "https://x.org/?a=b%26c%3Dd%2Be"),
        ("https://x.org/?b=2&a=1", "https://x.org/?a=1&b=2"),
        ("https://x.org/?B=1&a=2&A=3", "https://x.org/?A=3&B=1&a=2"),
        ("https://x.org/?id=2&b=0&id=1", "https://x.org/?b=0&id=2&id=1"),
        ("https://x.org/?b&a=&=c", "https://x.org/?=c&a=&b"),
        ("https://x.org/?ab=1&a=2&a-b=3", "https://x.org/?a=2&a-b=3&ab=1"),
        ("https://x.org/?&b=1&&a=2&", "https://x.org/?a=2&b=1"),
        ("https://x.org/?&&", "https://x.org/"),
        ("https://x.org/?%62=1&a=2", "https://x.org/?a=2&b=1"),
        ("https://x.org/?q=a/b?c", "https://x.org/?q=a/b?c"),
        ("https://x.org/?", "https://x.org/"),
        ("https://x.org/a#part", "https://x.org/a"),
        ("https://x.org/a#", "https://x.org/a"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
        ("http://localhost:8000/a", "http://localhost:8000/a"),
        ("http://127.0.0.1/a", "http://127.0.0.1/a"),
        ("https://my_host.example/a", "https://my_host.example/a"),
    ],
)
def test_spellings_of_a_page_have_one_canonical_form(url: str, expected: str) -> None:
    assert canonical(url) == expected


@pytest.mark.parametrize(
    "parameter",
    [
        "utm_source=news", "utm_medium=email", "utm_anything_else=1", "UTM_Source=x", "utm_source", "utm_source=", "gclid=1",
        "gbraid=1", "wbraid=1", "dclid=1", "fbclid=IwAR", "msclkid=1", "yclid=1", "twclid=1", "igshid=1", "mc_cid=1", "mc_eid=1",
        "mkt_tok=1", "_ga=1.2", "_gl=1", "_hsenc=1", "_hsmi=1", "vero_id=1", "ref_src=twsrc", "%75tm_source=a",
    ],
)  # fmt: skip
def test_a_parameter_that_only_tracks_is_no_part_of_a_page(parameter: str) -> None:
    assert canonical(f"https://x.org/a?{parameter}") == "https://x.org/a"
    assert canonical(f"https://x.org/a?b=1&{parameter}&a=2#part") == "https://x.org/a?a=2&b=1"


@pytest.mark.parametrize(
    "parameter",
    ["ref=v2", "source=utm_source", "utm=1", "utmx=1", "a_utm_source=1", "gclid2=1", "page=2", "id=gclid", "_g=1", "q=fbclid=1"],
)
def test_a_parameter_that_may_choose_the_page_is_kept(parameter: str) -> None:
    assert canonical(f"https://x.org/a?{parameter}") == f"https://x.org/a?{parameter}"


@given(st.permutations(["a=1", "b=2", "a-b=3", "ab=4", "c", "utm_source=x"]))
@settings(max_examples=50, deadline=None)
def test_the_order_of_parameters_with_different_names_makes_no_other_page(parameters: list[str]) -> None:
    assert canonical("https://x.org/?" + "&".join(parameters)) == "https://x.org/?a=1&a-b=3&ab=4&b=2&c"


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 9)), max_size=6))
@settings(max_examples=50, deadline=None)
def test_values_of_one_parameter_keep_their_order(parameters: list[tuple[str, int]]) -> None:
    query = canonical("https://x.org/?" + "&".join(f"{name}={value}" for name, value in parameters))
    assert query is not None
    kept = [part.split("=") for part in query.partition("?")[2].split("&") if part]
    for wanted in ("a", "b"):
        assert [value for name, value in kept if name == wanted] == [str(v) for name, v in parameters if name == wanted]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a/b",
        "//x.org/a",
        "https:///a",
        "ftp://x.org/a",
        "mailto:a@x.org",
        "javascript:void(0)",
        "data:text/html,a",
        "file:///etc/passwd",
        "https://user@x.org/",
        "https://user:secret@x.org/",
        "https://@x.org/",
        "http://[user@]host/path",
        "https://[::1/",
        "https://x.org:port/",
        "https://x.org:99999/",
        "https://x.org:-1/",
        f"https://{'ü' * 70}.org/",
        "http://xn--/",
        "http://www.xn--zz--.org/a",
        f"https://x.org/{'a' * 2048}",
        f"https://x.org/{'é' * 400}",  # within the limit only before it is encoded
    ],
)
def test_what_is_no_page_on_the_web_has_no_canonical_form(url: str) -> None:
    assert canonical(url) is None


@pytest.mark.parametrize(
    "url", ["https://a b.org/", "https://a<b>.org/", "https://x.org\\a", "https://a%20b.org/", "https://x..org/"]
)
def test_a_host_that_cannot_be_one_has_no_canonical_form(url: str) -> None:
    assert canonical(url) is None


def test_text_that_cannot_be_encoded_has_no_canonical_form() -> None:
    assert canonical("https://x.org/\ud800") is None


def test_the_longest_url_is_2048_characters() -> None:
    longest = "https://x.org/".ljust(2048, "a")
    assert canonical(longest) == longest
    assert canonical(longest + "a") is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("c", "https://x.org/a/c"),
        ("/c", "https://x.org/c"),
        ("../c", "https://x.org/c"),
        ("../../../c", "https://x.org/c"),
        ("./", "https://x.org/a/"),
        ("?q=1", "https://x.org/a/b?q=1"),
        ("#part", "https://x.org/a/b"),
        ("//y.org/c", "https://y.org/c"),
        ("http://y.org", "http://y.org/"),
        ("mailto:a@x.org", None),
        ("http://[user@]host/path", None),
    ],
)
def test_a_reference_is_resolved_against_its_base(reference: str, expected: str | None) -> None:
    assert canonical(reference, "https://x.org/a/b") == expected


_PARTS = st.text(st.sampled_from("aZ09/.%25ef?#&=+;:@!~ '\"<>[]{}|^`é😀"), max_size=30)


@given(
    scheme=st.sampled_from(["http", "https", "HTTP"]),
    host=st.sampled_from(["x.org", "X.ORG", "[::1]", "bücher.example", "x.org.", "127.0.0.1"]),
    port=st.sampled_from(["", ":", ":80", ":443", ":8080"]),
    rest=_PARTS,
)
@example("https", "x.org", "", "%%32F")
@example("https", "x.org", "", "%2%35e")
@example("https", "x.org", "", ".//..//a")
@settings(max_examples=100, deadline=None)
def test_a_canonical_url_is_its_own_canonical_form(scheme: str, host: str, port: str, rest: str) -> None:
    once = canonical(f"{scheme}://{host}{port}/{rest}")
    assert once is not None
    assert canonical(once) == once
    assert once.isascii()
    assert "#" not in once
    assert not {".", ".."} & set(path_of(once).partition("?")[0].split("/"))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.sampled_from([None, "https://x.org/a/b"]))
@settings(max_examples=100, deadline=None)
def test_any_text_is_refused_or_made_canonical(text: str, base: str | None) -> None:
    once = canonical(text, base)
    assert once is None or canonical(once) == once


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_percent_encoding_a_segment_does_not_change_the_page(segment: str) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in segment.encode())
    result = canonical(f"https://x.org/a{escaped}")
    assert result is not None
    assert result.count("/") == 3
    assert "?" not in result


def test_the_parts_of_a_canonical_url() -> None:
    assert origin("https://x.org:8080/a/b?q=1") == "https://x.org:8080"
    assert path_of("https://x.org:8080/a/b?q=1") == "/a/b?q=1"
    assert path_of("https://x.org/a") == "/a"


@pytest.mark.parametrize(
    ("prefix", "path", "covered"),
    [
        ("/docs", "/docs", True),
        ("/docs", "/docs/", True),
        ("/docs", "/docs/x/y", True),
        ("/docs", "/docsets", False),
        ("/docs", "/doc", False),
        ("/docs", "/", False),
        ("/docs", "/Docs", False),
        ("/docs", "/a/docs", False),
        ("/docs/", "/docs", True),
        ("/docs/", "/docs/x", True),
        ("/docs/", "/docsets", False),
        ("/", "/", True),
        ("/", "/anything", True),
    ],
)
def test_a_prefix_covers_whole_segments(prefix: str, path: str, covered: bool) -> None:
    assert covers(prefix, path) is covered


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("https://x.org/docs/a", True),
        ("https://x.org/api", True),
        ("https://x.org/docs?page=2", True),
        ("https://x.org/docsets", False),
        ("https://x.org/search?next=/docs/a", False),
        ("http://x.org/docs/a", True),
        ("http://x.org/docsets", False),
        ("https://x.org:8443/docs/a", False),
        ("http://x.org:8080/docs/a", False),
        ("http://www.x.org/docs/a", False),
        ("https://www.x.org/docs/a", False),
        ("https://x.org.evil.example/docs/a", False),
    ],
)
def test_scope_is_the_site_and_any_of_the_paths(url: str, inside: bool) -> None:
    assert in_scope(url, "https://x.org", ("/docs", "/api")) is inside


@pytest.mark.parametrize(
    ("site", "url", "there"),
    [
        ("https://x.org", "https://x.org/a?b=1", "https://x.org/a?b=1"),
        ("https://x.org", "http://x.org/a?b=1", "https://x.org/a?b=1"),
        ("https://x.org", "http://x.org/", "https://x.org/"),
        ("https://x.org", "http://x.org/http://y.org", "https://x.org/http://y.org"),
        ("http://x.org", "http://x.org/a", "http://x.org/a"),
        ("http://x.org", "https://x.org/a", "https://x.org/a"),
        ("https://x.org:8443", "http://x.org:8443/a", "https://x.org:8443/a"),
        ("https://x.org", "http://x.org:8080/a", None),
        ("https://x.org:8443", "http://x.org/a", None),
        ("http://x.org:8080", "https://x.org/a", None),
        ("https://x.org", "https://www.x.org/a", None),
        ("https://x.org", "https://x.org.evil.example/a", None),
        ("https://x.org", "https://evil.example/?x.org", None),
    ],
)
def test_http_and_https_are_one_site_and_a_link_never_leads_from_https_down_to_http(
    site: str, url: str, there: str | None
) -> None:
    assert on_site(url, site) == there


@pytest.mark.parametrize(
    "urls",
    [
        ("https://x.org/a", "https://x.org/a/", "https://x.org/a/index.html", "https://x.org/a.html", "https://x.org/a.htm"),
        ("https://x.org/a", "https://x.org/a/index.php", "https://x.org/a/default.aspx", "https://x.org/a/Index.HTML"),
        ("https://x.org/", "https://x.org/index.html", "https://x.org/index.xhtml", "http://x.org/"),
        ("https://x.org/a?b=1", "https://x.org/a/?b=1", "http://x.org/a.html?b=1"),
        ("https://x.org/v1.2", "https://x.org/v1.2/"),
    ],
)
def test_the_usual_spellings_of_one_page_have_the_same_in_common(urls: tuple[str, ...]) -> None:
    assert len({spelling(url) for url in urls}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://x.org/a", "https://x.org/A"),
        ("https://x.org/a", "https://x.org/a?b=1"),
        ("https://x.org/a?b=1", "https://x.org/a?b=2"),
        ("https://x.org/a?b=/", "https://x.org/a?b="),
        ("https://x.org/a", "https://y.org/a"),
        ("https://x.org/a", "https://x.org:8443/a"),
        ("https://x.org/a.html", "https://x.org/a.php"),
        ("https://x.org/a/index.html", "https://x.org/a/reindex.html"),
        ("https://x.org/a", "https://x.org/a/b"),
        ("https://x.org/1.2", "https://x.org/1"),
    ],
)
def test_other_pages_have_another_spelling(one: str, other: str) -> None:
    assert spelling(one) != spelling(other)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        ("/docs/getting-started", "/docs"),
        ("/3/library/index.html", "/3/library"),
        ("/docs", "/docs"),
        ("/docs/", "/docs"),
        ("/en/stable/", "/en/stable"),
        ("/en/stable", "/en"),
        ("/", "/"),
        ("/index.html", "/"),
        ("/manual.htm", "/"),
    ],
)
def test_the_default_scope_is_the_directory_of_the_seed(seed: str, expected: str) -> None:
    assert default_allowed_path(seed) == expected


@given(st.lists(st.sampled_from(["docs", "v1.2", "index.html", "a~b"]), max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_default_scope_covers_its_seed(segments: list[str], trailing_slash: bool) -> None:
    seed = "/" + "/".join(segments) + ("/" if segments and trailing_slash else "")
    assert covers(default_allowed_path(seed), seed)


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        (None, "https://x.org/a"),
        ("pathlib.Path", "https://x.org/a#pathlib.Path"),
        ("what's new?", "https://x.org/a#what's%20new?"),
        ("größe", "https://x.org/a#gr%C3%B6%C3%9Fe"),
        ("a#b", "https://x.org/a#a%23b"),
        ("50%", "https://x.org/a#50%25"),
        ('a"<b>', "https://x.org/a#a%22%3Cb%3E"),
    ],
)
def test_an_anchor_is_encoded_as_a_fragment(anchor: str | None, expected: str) -> None:
    assert with_anchor("https://x.org/a", anchor) == expected
