"""What a generator's profile says: how its pages are known, where their content is, what is not content, and what its markup
means. Profiles are in `generators`, one file each; the steps that all of them share are in `shape`.

A profile's `shape` may change the tree at will. It says what an element means by attributes that `markdown` reads:
`data-as` is the element's name from then on (`pre`, `dl`, `dt`, `dd`, `h3`, `div`, …), `data-name` and `data-kind` are
what a `dt` describes, and what it is; a `dt` with a `data-kind` or an id is an API entry.
"""

from collections.abc import Callable
from dataclasses import dataclass

from selectolax.lexbor import LexborNode


@dataclass(frozen=True, slots=True)
class Profile:
    """One generator. All selectors are CSS; `marks` are tried on the whole page, `main` in order, `drop` on the page."""

    name: str
    marks: str
    main: tuple[str, ...]
    drop: str = ""
    shape: Callable[[LexborNode], None] | None = None
