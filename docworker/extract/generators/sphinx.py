"""Sphinx, whatever its theme: docutils' markup, entries of its domains."""

from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.profile import Profile
from docworker.extract.shape import after, around, before, line

_DOMAINS = "dl.py, dl.c, dl.cpp, dl.js, dl.rst, dl.std, dl.function, dl.class, dl.method, dl.data, dl.attribute, dl.exception"
_NO_KINDS = frozenset({"py", "c", "cpp", "js", "rst", "std"})


def _shape(main: LexborNode) -> None:
    for link in main.css(".viewcode-link, .viewcode-back"):
        (link.parent if link.parent is not None and link.parent.tag == "a" else link).decompose()
    for module in main.css("section[id^='module-'], div.section[id^='module-']"):
        heading = module.css_first("h1, h2, h3, h4, h5, h6")
        if heading is not None:
            heading.attrs["data-name"] = (module.id or "").removeprefix("module-")
            heading.attrs["data-kind"] = "module"
    for mark in main.css("dl[id^='module-'], span.target[id^='module-']"):
        mark.attrs["data-name"], mark.attrs["data-kind"] = (mark.id or "").removeprefix("module-"), "module"
    for term in main.css("dl.field-list > dt"):
        term.inner_html = escape(line(term).rstrip(":")) + ":"
    for reference in main.css("a.footnote-reference"):
        reference.inner_html = f"[{escape(line(reference).strip('[]'))}]"
    for dl in main.css(_DOMAINS):
        classes = (dl.attributes.get("class") or "").split()
        kind = next((name for name in classes if name not in _NO_KINDS), "symbol")
        for dt in dl.css("dt"):
            if dt.parent is not None and dt.parent.mem_id == dl.mem_id:
                dt.attrs["data-kind"] = kind
                if name := _name(dt, classes):
                    dt.attrs["data-name"] = name
    for dt in main.css("dl.glossary > dt"):
        dt.attrs["data-kind"] = "term"
    for changed in main.css(".versionmodified"):
        changed.attrs["data-as"] = "strong"
    for rubric in main.css("p.rubric"):
        rubric.inner_html = f"<strong>{rubric.inner_html}</strong>"
    for classifier in main.css("dt .classifier"):
        classifier.insert_before(" : ")
    for note in main.css("aside.footnote, aside.citation, div.citation"):
        _footnote(note.css_first(".label"), note.css_first("p"))
    for label in main.css("dl.footnote > dt, dl.citation > dt"):
        described = after(label, "dd")
        _footnote(label, described.css_first("p") if described is not None else None)


def _name(dt: LexborNode, domain: list[str]) -> str:
    """What a signature describes, qualified; each option on a line of its own."""
    names = [node.text(strip=True) for node in dt.css(".descname")]
    anchor = dt.id or ""
    if not names:
        return ""
    if names[0].startswith(("-", "/")):
        return "\n".join(names)
    if "cpp" in domain:
        scope = _scope(dt)
        prefix = dt.css_first(".descclassname")
        own = (prefix.text(strip=True) if prefix is not None else "") + names[-1]
        return f"{scope}::{own}" if scope else own
    plain = anchor.removeprefix("c.")
    if plain.endswith("." + names[0]):
        return plain
    prefix = dt.css_first(".descclassname")  # what stands behind the name has that class too
    qualifies = prefix is not None and prefix.text(strip=True).endswith((".", ":"))
    return (prefix.text(strip=True) if prefix is not None and qualifies else "") + names[0]


def _scope(dt: LexborNode) -> str:
    """The name of the C++ entry that this one stands in."""
    description = around(dt, "dd")
    outer = before(description, "dt") if description is not None else None
    return (outer.attributes.get("data-name") or "") if outer is not None else ""


def _footnote(label: LexborNode | None, text: LexborNode | None) -> None:
    """`[1]` before the text, instead of a block of its own with links back."""
    if label is None or text is None:
        return
    text.inner_html = f"[{escape(line(label).strip('[] '))}] {text.inner_html}"
    label.decompose()


PROFILE = Profile(
    name="sphinx",
    marks="script#documentation_options, link[href*='_static/pygments.css'], script[src*='_static/doctools']",
    main=("[role=main]", "main", "div.body", "div.document"),
    drop=(
        ".headerlink, .sphinxsidebar, .related, .prev-next-area, .bd-sidebar-secondary, .rst-versions, "
        ".backrefs, span.fn-backref, .contents.topic, .contents.local"
    ),
    shape=_shape,
)
