"""What a site allows robots to do: robots.txt (RFC 9309) and the robots directives of its pages. Owns protego."""

from collections.abc import Iterable, Iterator

from protego import Protego

from docworker.crawl.fetcher import Fetcher
from docworker.model import Access, Failed, Fetched, Redirected
from docworker.urls import canonical, on_site

AGENT = "docworker"
# RFC 9309 section 2.5: at least 500 KiB are to be read, what is beyond need not be.
MAX_BYTES = 500 * 2**10
_WITH_VALUE = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
_MAX_REDIRECTS = 5  # section 2.3.1.2


class Robots:
    """A parsed robots.txt; an empty text allows everything."""

    def __init__(self, text: str = "") -> None:
        self._rules = Protego.parse(text)
        self.crawl_delay_s: float | None = self._rules.crawl_delay(AGENT)
        self.sitemaps: tuple[str, ...] = tuple(self._rules.sitemaps)

    def allows(self, url: str) -> bool:
        """Whether docworker may ask for `url`."""
        return self._rules.can_fetch(url, AGENT)


FORBIDDEN = Robots("User-agent: *\nDisallow: /")


async def read_robots(fetcher: Fetcher, site_origin: str, access: Access) -> str | Failed:
    """A site's robots.txt, "" when it has none (4xx), Failed when it cannot be had: then nothing may be asked (section 2.3.1.4).

    Redirects are followed on the site itself; one that leads elsewhere counts as none.
    """
    url = f"{site_origin}/robots.txt"
    for _ in range(_MAX_REDIRECTS + 1):
        asked = await fetcher.fetch(url, access=access, keep=MAX_BYTES)
        match asked.outcome:
            case Fetched(body=body):
                return body.decode("utf-8-sig", "replace")
            case Redirected(target=target):
                moved = canonical(target, url)
                if moved is None or on_site(moved, site_origin) is None:
                    return ""
                url = moved
            case Failed() as failed if asked.status is None or asked.status >= 500 or asked.status == 429:
                return failed
            case _:
                return ""
    return ""


def directives(metas: Iterable[str], header: str | None) -> tuple[bool, bool]:
    """(noindex, nofollow) by a page's robots meta elements and its X-Robots-Tag headers, one a line.

    A header may begin with the name of the robot that it is meant for.
    """
    said = {word.strip().lower() for content in (*metas, *_for_us(header or "")) for word in content.split(",")}
    return bool(said & {"noindex", "none"}), bool(said & {"nofollow", "none"})


def _for_us(header: str) -> Iterator[str]:
    for line in header.splitlines():
        agent, colon, rest = line.partition(":")
        if not colon or "," in agent or agent.strip().lower() in _WITH_VALUE:
            yield line
        elif agent.strip().lower() == AGENT:
            yield rest
