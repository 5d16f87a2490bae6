"""Which links of a page are followed."""

import pytest

from docworker.crawl.discovery import MAX_LINKS, pages_to_follow

SITE = "https://x.org"


def follow(*links: str, paths: tuple[str, ...] = ("/docs",)) -> tuple[str, ...]:
    return pages_to_follow(links, SITE, paths)


def test_pages_come_back_in_page_order_each_once() -> None:
    links = ("https://x.org/docs/b", "https://x.org/docs/a#one", "https://x.org/docs/b#two", "https://X.org:443/docs/./a")
    assert follow(*links) == ("https://x.org/docs/b", "https://x.org/docs/a")


@pytest.mark.parametrize(
    "link",
    [
        "https://x.org/blog/a",
        "https://x.org/docsets",
        "https://y.org/docs/a",
        "http://x.org/docs/a",
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


def test_at_most_10_000_pages_come_back() -> None:
    found = follow(*(f"https://x.org/docs/{number}" for number in range(MAX_LINKS + 5)))
    assert len(found) == MAX_LINKS
    assert found[-1] == f"https://x.org/docs/{MAX_LINKS - 1}"
