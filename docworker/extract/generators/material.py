"""Material for MkDocs, and API pages that mkdocstrings makes in it."""

from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.profile import Profile
from docworker.extract.shape import after, around, line

_LABELS = {"instance-attribute": "attribute", "class-attribute": "attribute", "module-attribute": "attribute"}
_KINDS = ("module", "class", "function", "attribute", "method", "property")


def _shape(main: LexborNode) -> None:
    for name in main.css(".highlight > .filename"):
        name.attrs["data-as"] = "p"
    for name in main.css("table.highlighttable th.filename"):  # the table goes, see shape.flatten_code
        table = around(name, "table")
        if table is not None and table.parent is not None:
            title = f"<p>{escape(line(name))}</p>"
            name.decompose()
            table.parent.inner_html = f"{title}{table.parent.inner_html}"
    for diagram in main.css("pre.mermaid"):
        diagram.attrs["data-lang"] = "mermaid"
    for source in main.css("details.quote, details.mkdocstrings-source"):
        source.decompose()
    for entry in main.css(".doc-object"):
        _entry(entry)
    for head in main.css(".doc-section-title"):
        head.inner_html = f"<strong>{escape(line(head))}</strong>"


def _entry(entry: LexborNode) -> None:
    heading = entry.css_first(".doc-heading")
    if heading is None:
        return
    kind = next((name for name in _KINDS if f"doc-{name}" in (entry.attributes.get("class") or "").split()), "symbol")
    labels = [line(label) for label in heading.css(".doc-labels small, .doc-label")]
    for label in heading.css(".doc-labels"):
        label.decompose()
    anchor = heading.id or ""
    signature = line(heading)
    following = after(heading)
    if following is not None and "doc-signature" in (following.attributes.get("class") or ""):
        signature = line(following)
        following.decompose()
    inside = around(entry, "div")
    while inside is not None and "doc-object" not in (inside.attributes.get("class") or "").split():
        inside = around(inside, "div")
    within_class = inside is not None and "doc-class" in (inside.attributes.get("class") or "").split()
    if kind == "function" and within_class:
        kind = "method"
    if "property" in labels:
        kind = "property"
    before = " ".join([*dict.fromkeys(labels)])
    heading.attrs["data-as"] = "dt"
    heading.attrs["data-kind"] = kind
    heading.attrs["data-name"] = anchor
    heading.inner_html = escape(f"{before} {signature}".strip())
    entry.attrs["data-as"] = "dl"


PROFILE = Profile(
    name="material",
    marks="meta[name=generator][content*='mkdocs-material'], [data-md-component=container]",
    main=("article.md-content__inner", ".md-content", "main"),
    drop=".md-source-file, .md-content__button, .md-feedback, .md-tags, .md-sidebar",
    shape=_shape,
)
