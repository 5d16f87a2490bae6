"""Sites that stop in the middle of a crawl: a generated one that can be made to hold still, and one that goes down."""

import threading
from typing import Any

from tests.site import Answer, Site

PAGES = 40
AT_ONCE = 4
WORDS = ("antelope", "beaver", "cormorant", "dingo", "egret", "falcon", "gecko", "hyena")


class StoppingSite(Site):
    """A generated site of `pages` and a first one that answers `hold_after` requests for pages and holds the others until
    `release` is set.

    What is asked about the site itself is answered at once and not counted.
    """

    def __init__(self, pages: int = PAGES) -> None:
        super().__init__({"/docs/": self._page("Start", range(1, 4))})
        for number in range(1, pages + 1):
            children = range(3 * number + 1, min(3 * number + 4, pages + 1))
            self.pages[f"/docs/p{number}"] = self._page(f"Page {number}", children)
        self.hold_after: int | None = None
        self.release = threading.Event()
        self._answered = 0
        self._lock = threading.Lock()

    @staticmethod
    def _page(title: str, children: range) -> str:
        links = "".join(f'<a href="/docs/p{child}">next</a>' for child in children)
        word = WORDS[sum(title.encode()) % len(WORDS)]
        parts = "".join(f'<h2 id="s{n}">Part {n}</h2><p>{f"{title} tells of the {word} in part {n}. " * 9}</p>' for n in range(2))
        return f"<title>{title} — Generated</title><main><h1>{title}</h1>{parts}</main><nav>{links}</nav>"

    def answer(self, path: str) -> Answer:
        if path not in self.pages:
            return super().answer(path)
        with self._lock:
            self._answered += 1
            held = self.hold_after is not None and self._answered > self.hold_after
        if held:
            self.release.wait(60)
        return super().answer(path)

    def begin(self, hold_after: int | None) -> None:
        """Count from here on."""
        with self._lock:
            self.hold_after, self._answered = hold_after, 0
            self.release.clear()
            self.requests.clear()

    @property
    def asked_for_pages(self) -> int:
        """How many requests there were for pages."""
        return sum(self.requests[path] for path in self.pages)

    def let_go(self) -> None:
        with self._lock:
            self.hold_after = None
        self.release.set()

    def __exit__(self, *trouble: Any) -> None:
        self.let_go()
        super().__exit__(*trouble)


class GoingDown(Site):
    """A site whose every page fails once its first page was had, until it is `up` again; a 500 asks nobody to be slower."""

    up = False

    def answer(self, path: str) -> Answer:
        if path in self.pages and not self.up and self.answers["/docs/", 200]:
            return Answer(500)
        return super().answer(path)
