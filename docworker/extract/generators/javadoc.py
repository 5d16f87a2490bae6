"""javadoc: pages of version 13 and later; those of 8 to 12 have other class names, and lists where these have sections."""

import re
from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.names import one_line
from docworker.extract.profile import Profile
from docworker.extract.shape import before, line

_TITLE = re.compile(
    r"(?P<kind>Class|Interface|Enum|Record|Annotation|Exception|Error|Package|Module)(?: (?:Class|Interface|Type))?\s+"
    r"(?P<name>[\w.$]+)"
)
_LISTS = ("summary-list", "details-list", "member-list", "summaryList", "detailsList", "memberList", "blockList", "blockListLast")
_LAYOUT = ", ".join(f"ul.{name}, ul.{name} > li" for name in _LISTS)
_KINDS = (("constant", "constant"), ("field", "field"), ("constructor", "constructor"), ("property", "property"))


def _shape(main: LexborNode) -> None:
    own = _title(main)
    if (header := main.css_first(".header")) is not None and (title := header.css_first(".title")) is not None:
        head = title.html or ""
        title.decompose()
        header.inner_html = f"{head}{header.inner_html}"  # module and package stand above it
    for part in main.css(".sub-title, .subTitle, .caption"):
        part.attrs["data-as"] = "p"
    for part in main.css(_LAYOUT):
        part.attrs["data-as"] = "div"
    for heading in main.css(".inherited-list > h2"):
        heading.attrs["data-as"] = "h3"  # it stands below the summary's heading, which is one as well
    for signature in main.css(".type-signature, .package-signature, .module-signature"):
        signature.attrs["data-as"] = "p"
        signature.inner_html = f"<code>{escape(one_line(signature.text()))}</code>"
    for block in main.css(".deprecation-block, .deprecationBlock, .block:has(> .deprecatedLabel)"):
        _deprecated(block)
    for table in main.css(".summary-table"):
        _table(table)
    for members in main.css("section[class$='-details'], section[class$='Details']"):
        for entry in members.css(".detail"):
            _entry(entry, entry.css_first(".member-signature, .memberSignature"), entry.id, members.id or "", own)
    for mark in main.css("a[id$='.detail'], a[name$='.detail']"):
        if mark.parent is not None:
            for name in mark.parent.css("li > h4"):
                _old_entry(name, mark.id or mark.attributes.get("name") or "", own)


def _title(main: LexborNode) -> str:
    """Mark the page's heading as the name of what the page is about; the name without its package."""
    heading = main.css_first(".header .title")
    match = _TITLE.match(line(heading)) if heading is not None else None
    if heading is None or match is None:
        return ""
    label = main.css_first(".package-label-in-type, .packageLabelInType")
    if label is not None and label.parent is not None:
        package = label.parent.css_first("a")
    else:
        package = main.css_first(".header div.subTitle")  # before version 9 it is all that stands there
    name = match["name"]
    heading.attrs["data-as"] = "h1"
    heading.attrs["data-name"] = name if package is None else f"{line(package)}.{name}"
    heading.attrs["data-kind"] = match["kind"].lower()
    return name


def _deprecated(block: LexborNode) -> None:
    """Label a deprecation as other notes are: what the page shows in bold, then the reason."""
    label = block.css_first(".deprecated-label, .deprecatedLabel")
    comment = block.css_first(".deprecation-comment, .deprecationComment")
    said = "" if comment is None else comment.inner_html or ""
    head, _, rest = ("Deprecated", "", "") if label is None else line(label).partition(":")
    if rest:
        said = f"{escape(rest.strip())}</p><div>{said}</div>"
    end = ":" if said else "."
    block.inner_html = f"<p><strong>{escape(head.rstrip('.'))}{end}</strong> {said}"


def _table(table: LexborNode) -> None:
    """A table made of divs, which the page lays out as a grid."""
    cells = [f"<td>{cell.inner_html}</td>" for cell in table.iter()]
    columns = len([cell for cell in table.iter() if "table-header" in (cell.attributes.get("class") or "")])
    if columns:
        rows = ["".join(cells[start : start + columns]) for start in range(0, len(cells), columns)]
        head = rows[0].replace("<td>", "<th>").replace("</td>", "</th>")
        body = "".join(f"<tr>{row}</tr>" for row in rows[1:])
        table.inner_html = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _entry(entry: LexborNode, signature: LexborNode | None, anchor: str | None, members: str, own: str) -> None:
    """Make an entry of a member: its signature, and what is said about it."""
    name = entry.css_first("h3, h4")
    if name is None or signature is None or not anchor:
        return
    kind = next((kind for start, kind in _KINDS if start in members), "method")
    qualified = own if kind == "constructor" else f"{own}.{line(name)}"
    entry.attrs["data-as"], entry.attrs["id"] = "dl", ""
    signature.attrs["data-as"], signature.attrs["id"] = "dt", anchor
    signature.attrs["data-kind"], signature.attrs["data-name"] = kind, qualified
    name.decompose()


def _old_entry(name: LexborNode, members: str, own: str) -> None:
    """A member of an older page: an item of a list, right after its anchor."""
    item = name.parent
    if item is None or item.parent is None:
        return
    mark = before(item.parent)
    if mark is not None and mark.tag == "a":
        _entry(item, item.css_first("pre"), mark.id or mark.attributes.get("name"), members, own)


PROFILE = Profile(
    name="javadoc",
    marks="meta[name=generator][content^='javadoc/'], link[title=Style][href$='stylesheet.css']",
    main=("main", "[role=main]", "body"),
    drop=".inheritance, .table-tabs, .topNav, .bottomNav, .subNav, .skipNav, .legalCopy, .legal-copy",
    shape=_shape,
)
