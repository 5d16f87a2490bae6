"""Which links of a page to follow. Pure."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from docworker.urls import canonical, in_scope

# More links than any page written for readers has; a page with more is a trap or an index of everything.
MAX_LINKS = 10_000
# Never a page of HTML: asking would only cost the site. Anything else is judged by its content type.
_NOT_PAGES = re.compile(
    r"\.(7z|avi|bmp|bz2|css|csv|deb|dmg|docx?|eot|epub|exe|gif|gz|ico|inv|iso|jar|jpe?g|mov|mp[34]|msi|odt|ogg|otf|pdf|png|pptx?"
    r"|ps|rar|rpm|svg|tar|tgz|tiff?|ttf|wasm|wav|webm|webp|whl|woff2?|xlsx?|xz|zip|zst)$",
    re.IGNORECASE,
)


def pages_to_follow(links: Iterable[str], site_origin: str, allowed_paths: tuple[str, ...]) -> tuple[str, ...]:
    """Canonical URLs in scope, each once, in page order; links that cannot be pages are left out.

    `links` are absolute URLs as the page has them. At most 10,000 come back.
    """
    found: dict[str, None] = {}
    for link in links:
        url = canonical(link)
        if url is None or not in_scope(url, site_origin, allowed_paths):
            continue
        if _NOT_PAGES.search(urlsplit(url).path):
            continue
        found[url] = None
        if len(found) == MAX_LINKS:
            break
    return tuple(found)
