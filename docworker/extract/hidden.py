"""What a page holds and shows to nobody: an assistant would read it, so it goes.

An element is hidden by its attributes (`hidden`, `aria-hidden`, a closed `dialog`, a `popover`), by its own style (not displayed,
transparent, without size, off the screen, in the colour of its ground), or by a plain selector of a `<style>` of the page.

Documentation also hides what its readers do come to, and that stays: panels of tabs, what a control of the page names
(`aria-controls`, `onclick="toggle('it')"`), what another rule shows in some state, and the page's whole content, which a script
shows once it is loaded. So does a hidden title whose words follow, and code and formulas hidden from screen readers only.

Style sheets and scripts of their own files are not read: what these hide is not known here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser, LexborNode

from docworker.extract.shape import after, around, line

_SUSPECTS = "[style], [hidden], [aria-hidden=true i], [popover], dialog:not([open])"
_CONTROLS = (
    ":is(button, a, summary, input, [role=button], [role=tab], [onclick]):is([aria-controls], [data-target], [data-bs-target], "
    "[popovertarget], [commandfor], [aria-expanded], [onclick]), label[for], "
    "a[href^='#']:is([data-toggle], [data-bs-toggle], [role])"
)
_NAMES_IT = ("aria-controls", "data-target", "data-bs-target", "popovertarget", "commandfor", "for", "href")
_QUOTED = re.compile(r"""['"]#?([\w.:-]{2,100})['"]""")
_MAX_QUOTED = 500
_MAX_SELECTORS = 500
_MAX_THINNED = 50
# What a page must hold of its text, and of its headings all, to be what a script shows later.
_WHOLE_SHARE = 0.8
_HEADINGS = "h1, h2, h3"
_WORD = re.compile(r"\w+")
_MAX_TITLE_CHARS = 100
_NEAR, _MAX_STEPS = 3, 10
_ROOTS = frozenset({"html", "head", "body"})
_MARKS_A_PLACE = frozenset({"a", "span", "div", "p"})

_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_ESCAPED = re.compile(r"\\(?:([0-9a-f]{1,6})\s?|(.))", re.IGNORECASE)
_BRACE = re.compile(r"([{}])")
_COMPOUND = r"(?:[a-z][\w-]*|[.#][\w-]+)(?:[.#][\w-]+)*"
_PLAIN = re.compile(rf"{_COMPOUND}(?:(?:\s*>\s*|\s+){_COMPOUND})*", re.IGNORECASE)
_KEY = re.compile(r"[.#][\w-]+")
_LENGTH = re.compile(
    r"(?<![\w.#-])(-?(?:\d++(?:\.\d*+)?|\.\d++)(?:e[+-]?\d++)?)(px|pt|pc|in|cm|mm|q|em|rem|ex|ch|lh|rlh|vw|vh|vmin|vmax|%)?(?![\w.])"
)
_PX = {
    "pt": 1.3, "pc": 16, "in": 96, "cm": 38, "mm": 3.8, "em": 16, "rem": 16, "ex": 8, "ch": 8, "lh": 20, "rlh": 20,
    "vw": 10, "vh": 10, "vmin": 10, "vmax": 10, "%": 10,
}  # fmt: skip
_FAR_PX, _FAR_AHEAD_PX = 900, 9_000  # off the screen before its beginning, behind its end
_OFFSETS = ("left", "right", "top", "bottom", "text-indent", "margin-left", "margin-top")
_SIZES = ("width", "height", "max-width", "max-height", "block-size", "inline-size", "max-block-size", "max-inline-size")
_NO_CLIP = re.compile(r"(?:inset|circle|ellipse|polygon)\(", re.IGNORECASE)
_ZERO_SCALE = re.compile(r"scale[xyz3d]*\(\s*0*\.?0+%?\s*[,)]")
_COLOUR = re.compile(r"#[0-9a-f]{3,8}\b|(?:rgb|hsl)a?\([^()]*\)|\b[a-z]+\b")
_NAMED = {
    "white": "255 255 255", "black": "0 0 0", "red": "255 0 0", "green": "0 128 0", "lime": "0 255 0", "blue": "0 0 255",
    "yellow": "255 255 0", "gray": "128 128 128", "grey": "128 128 128", "silver": "192 192 192",
}  # fmt: skip
_SHOWN_BY = frozenset({"display", "visibility", "opacity"})  # when a sheet hides it and its own style says otherwise
# What elements inside take over, unless they say otherwise.
_INHERITED = frozenset({"font-size", "visibility", "color", "text-indent"})


@dataclass(frozen=True, slots=True)
class Hiding:
    """What a page says of what it hides: selectors of its own style sheets; ids that its controls name, and parts of such; what
    stands right behind a control, by its `mem_id`; whether it has tabs."""

    selectors: str
    reached: frozenset[str]
    quoted: tuple[str, ...]
    behind: frozenset[int]
    has_tabs: bool


def read_hiding(tree: LexborHTMLParser) -> Hiding | None:
    """Look at style sheets and controls, to be done while the page is whole; None when it hides nothing."""
    sheets = [
        node.text()
        for node in tree.css("style:not(noscript *, template *, svg *)")
        if (node.attributes.get("media") or "all").strip().lower() in ("all", "screen")
    ]
    selectors = list(_hiding_selectors("\n".join(sheets)))[:_MAX_SELECTORS] if sheets else []
    if not selectors and tree.css_first(_SUSPECTS) is None:
        return None
    reached, quoted, behind = set[str](), dict[str, None](), set[int]()
    for control in tree.css(_CONTROLS):
        given = control.attributes
        if not (control.tag == "input" or given.get("aria-label") or control.text(strip=True) or control.css_first("svg, img")):
            continue  # nothing to click on
        for name in _NAMES_IT:
            reached.update(id_.lstrip("#") for id_ in (given.get(name) or "").split())
        quoted.update(dict.fromkeys(_QUOTED.findall(given.get("onclick") or "")))
        if "onclick" in given or "aria-expanded" in given:
            behind.update(node.mem_id for node in (after(control), control.parent and after(control.parent)) if node is not None)
    return Hiding(
        ", ".join(selectors),
        frozenset(reached),
        tuple(quoted)[:_MAX_QUOTED],
        frozenset(behind),
        tree.css_first("[role=tab]") is not None,
    )


def drop_hidden(tree: LexborHTMLParser, hiding: Hiding | None) -> None:
    """Remove the elements that are shown to nobody; one that marks a place stays, without its text."""
    if hiding is None:
        return
    styled = {node.mem_id for node in tree.css(hiding.selectors)} if hiding.selectors else set[int]()
    suspects = tree.css(f"{_SUSPECTS}, {hiding.selectors}" if styled else _SUSPECTS)
    causes = {node.mem_id: cause for node in suspects if (cause := _cause(node, node.mem_id in styled))}
    if not causes:
        return
    whole = _around_content(tree, causes)
    inside, dropped, thinned = set[int](), list[LexborNode](), 0
    for node in {node.mem_id: node for node in suspects}.values():
        cause = causes.get(node.mem_id)
        if cause is None or node.mem_id in inside or node.mem_id in whole or node.tag in _ROOTS or _comes_to(node, hiding):
            continue
        if not node.text().strip() or (cause == "aria-hidden" and _is_exact(node)) or _said_again(node, causes):
            continue
        shown = [] if cause not in _INHERITED or thinned == _MAX_THINNED else _shown_inside(node, cause)
        if shown:
            thinned += 1
            _thin(node, shown)
        else:
            inside.update(inner.mem_id for inner in node.css("*"))
            dropped.append(node)
    for node in dropped:
        if node.tag in _MARKS_A_PLACE and (node.id or "name" in node.attributes):
            node.inner_html = ""
        else:
            node.decompose()


def _cause(node: LexborNode, styled: bool) -> str | None:
    """The property or attribute that hides an element, None when nothing does."""
    given = node.attributes
    if styled and not _declared(given.get("style") or "").keys() & _SHOWN_BY:
        return "style"
    if "hidden" in given and (given["hidden"] or "").strip().lower() != "until-found":
        return "hidden"
    if (style := given.get("style")) and (found := _hides(style)):
        return found
    if "popover" in given or (node.tag == "dialog" and "open" not in given):
        return "popover"
    return "aria-hidden" if (given.get("aria-hidden") or "").strip().lower() == "true" else None


def _comes_to(node: LexborNode, hiding: Hiding) -> bool:
    """Whether readers come to a hidden element by a click."""
    given = node.attributes
    if node.mem_id in hiding.behind or (hiding.has_tabs and given.get("role") == "tabpanel"):
        return True
    id_ = node.id
    return id_ is not None and (id_ in hiding.reached or any(part in id_ for part in hiding.quoted))


def _around_content(tree: LexborHTMLParser, causes: Mapping[int, str]) -> set[int]:
    """The hidden elements that hold all headings and nearly all text of the page: a script will show them."""
    body = tree.body
    first = None if body is None else body.css_first(_HEADINGS)
    found = set[int]()
    node = first.parent if first is not None else None
    while node is not None and body is not None:
        if node.mem_id in causes and node.tag not in _ROOTS:
            headings = len(node.css(_HEADINGS)) == len(body.css(_HEADINGS))
            if headings and len("".join(node.text().split())) >= _WHOLE_SHARE * len("".join(body.text().split())):
                found.add(node.mem_id)
        node = node.parent
    return found


def _is_exact(node: LexborNode) -> bool:
    """Whether an element is of code or formulas, which may be hidden from screen readers only."""
    return around(node, "pre", "code", "math") is not None or node.css_first("pre, code, math") is not None


def _said_again(node: LexborNode, causes: Mapping[int, str]) -> bool:
    """Whether a hidden title only says what is shown right behind it."""
    title = line(node).lower()
    if not (node.tag or "").startswith("h") or len(title) > _MAX_TITLE_CHARS:
        return False
    words = set(_WORD.findall(title))
    following = _following(node)
    for _ in range(_NEAR):
        if following is None or following.mem_id in causes:
            return False
        if words <= set(_WORD.findall(line(following).lower()[: 2 * _MAX_TITLE_CHARS])):
            return not any(inner.mem_id in causes for inner in following.traverse())
        following = _following(following)
    return False


def _following(node: LexborNode) -> LexborNode | None:
    """What with any text stands right behind an element; it may end those that it stands in, as the last thing in them."""
    at: LexborNode | None = node
    for _ in range(_MAX_STEPS):
        while at is not None and at.next is None:
            at = at.parent
        at = None if at is None else at.next
        if at is None or (at.text() or "").strip():
            return at
    return None


def _shown_inside(node: LexborNode, cause: str) -> list[LexborNode]:
    """What inside of a hidden element is shown all the same, as it does not take over what hides it."""
    inner = (inner for inner in node.css("[style]") if inner.mem_id != node.mem_id and inner.text().strip())
    return [each for each in inner if cause in _declared(each.attributes.get("style") or "") and not _cause(each, False)]


def _thin(node: LexborNode, shown: list[LexborNode]) -> None:
    """Leave of an element only what is shown inside of it."""
    kept = {inner.mem_id for each in shown for inner in each.traverse(include_text=True)}
    for text in [inner for inner in node.traverse(include_text=True) if inner.is_text_node and inner.mem_id not in kept]:
        text.replace_with(" ")


# -- styles


@lru_cache(4_096)
def _hides(style: str) -> str | None:
    """The property by which declarations hide what they are of."""
    declared = _declared(style)
    for name in ("display", "visibility", "content-visibility"):
        if declared.get(name) in ("none", "hidden", "collapse"):
            return name
    if _zero(declared.get("opacity"), 0.05) or re.search(r"opacity\(\s*0*\.?0+%?\s*\)", declared.get("filter", "")):
        return "opacity"
    if _zero(declared.get("font-size"), 1) or re.search(r"(?:^|\s)0+(?:px|em|rem|pt|%)?\s*(?:/|\s)", declared.get("font", "")):
        return "font-size"
    if _zero(declared.get("scale"), 0) or _zero(declared.get("zoom"), 0) or _ZERO_SCALE.search(declared.get("transform", "")):
        return "transform"
    for name in (*_OFFSETS, "transform", "translate"):
        if any(size <= -_FAR_PX or size >= _FAR_AHEAD_PX for size in _sizes(declared.get(name, ""))):
            return name
    if _is_clipped(declared):
        return "clip"
    return "color" if _is_unseen_colour(declared) else None


@lru_cache(4_096)
def _declared(style: str) -> Mapping[str, str]:
    """Properties and their values, in lower case; the last one wins, or the important one."""
    found, important = dict[str, str](), set[str]()
    for one in _ESCAPED.sub(_character, _COMMENT.sub(" ", style)).lower().split(";"):
        name, _, value = (part.strip() for part in one.partition(":"))
        value, mark, _ = value.partition("!")
        if value and (mark or name not in important):
            found[name] = value.strip()
            important |= {name} if mark else set()
    return found


def _character(match: re.Match[str]) -> str:
    code = int(match[1] or "0", 16)
    return match[2] or (chr(code) if 0 < code < 0x110000 else "")


def _sizes(value: str) -> Iterator[float]:
    """The lengths in a value, in CSS pixels, those that follow the font or the window about."""
    for number, unit in _LENGTH.findall(value):
        yield float(number) * _PX.get(unit, 1)


def _zero(value: str | None, most: float) -> bool:
    """Whether a value is a number or length, and as good as none."""
    return value is not None and _LENGTH.fullmatch(value) is not None and all(abs(size) <= most for size in _sizes(value))


def _is_clipped(declared: Mapping[str, str]) -> bool:
    if (
        (clip := declared.get("clip", "")).startswith("rect(")
        and all(abs(size) <= 1 for size in _sizes(clip))
        and "auto" not in clip
    ):
        return True
    shape = declared.get("clip-path", "")
    sizes = list(_sizes(shape.partition(" at ")[0]))
    if shape.startswith("inset(") and "%" in shape and sizes and min(sizes) >= _PX["%"] * 50:
        return True
    if _NO_CLIP.match(shape) and not shape.startswith("inset(") and not any(sizes):
        return True
    hides_rest = any(
        declared.get(name, "").split()[:1] in (["hidden"], ["clip"]) for name in ("overflow", "overflow-x", "overflow-y")
    )
    return hides_rest and any(_zero(declared.get(name), 1) for name in _SIZES)


def _is_unseen_colour(declared: Mapping[str, str]) -> bool:
    """Whether the text is transparent, or of the colour of the ground that the same style gives it."""
    ground = declared.get("background-color") or declared.get("background") or ""
    if "text" in declared.get("background-clip", "") + declared.get("-webkit-background-clip", ""):
        return False  # a picture in the form of letters
    colour = _colour(declared.get("-webkit-text-fill-color") or declared.get("color") or "")
    if colour == "transparent":
        return True
    return bool(colour) and "url(" not in ground and any(_colour(word) == colour for word in _COLOUR.findall(ground))


def _colour(text: str) -> str:
    """One spelling of a colour; `transparent` when nothing of it is seen, empty for what is none."""
    text = text.strip()
    if text == "transparent":
        return text
    if text.startswith("#") and len(text) in (4, 5, 7, 9):
        digits = text[1:] if len(text) > 5 else "".join(2 * digit for digit in text[1:])
        try:
            red, green, blue, *alpha = bytes.fromhex(digits)
        except ValueError:
            return ""
        return "transparent" if alpha == [0] else f"{red} {green} {blue}"
    if text.startswith(("rgb", "hsl")):
        parts = re.findall(r"[\d.]+%?", text.partition("(")[2])
        if len(parts) == 4 and not parts[3].strip("0.%"):
            return "transparent"
        return " ".join(parts[:3]) if text.startswith("rgb") else f"hsl {' '.join(parts[:3])}"
    return _NAMED.get(text, "")


# -- style sheets


def _hiding_selectors(sheet: str) -> Iterator[str]:
    """The plain selectors (elements, classes, ids) that hide, unless another rule shows what has one of their names."""
    hiding, showing = dict[str, bool](), dict[str, set[str]]()
    for selectors, declarations, always in _rules(sheet):
        cause = _hides(declarations)
        shows = not cause and any(name in _declared(declarations) for name in ("display", "visibility", "opacity"))
        for selector in (each.strip() for each in selectors.split(",")):
            if cause and always and _PLAIN.fullmatch(selector):
                hiding[selector] = True
            elif shows:
                hiding.pop(selector, None)
                for key in _keys(selector):
                    showing.setdefault(key, set()).add(selector)
    for selector in hiding:
        if not any(showing.get(key, set()) - {selector} for key in _keys(selector)):
            yield selector


def _keys(selector: str) -> list[str]:
    """By what the last part of a selector finds: its classes and ids, else its element."""
    last = re.split(r"[\s>+~]+", selector.strip())[-1]
    return _KEY.findall(last) or [re.split(r"[:\[]", last)[0].lower()]


def _rules(sheet: str) -> Iterator[tuple[str, str, bool]]:
    """Selectors and declarations; and whether they hold always, not only below an at-rule."""
    held, open_ = "", list[str]()
    for part in _BRACE.split(_COMMENT.sub(" ", sheet)):
        if part == "{":
            open_.append(held.rpartition(";")[2].strip())
            held = ""
        elif part == "}":
            if open_:
                selectors = open_.pop()
                if selectors and not selectors.startswith("@"):
                    yield selectors, held, not open_
            held = ""
        else:
            held = part
