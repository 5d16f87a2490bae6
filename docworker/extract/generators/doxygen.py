"""Doxygen: pages of classes, files, groups and prose; every member has a title, a prototype in a table, and text."""

import re
from html import escape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from docworker.extract.names import one_line
from docworker.extract.profile import Profile
from docworker.extract.shape import after, before, inner_first, label_block, line

_ABOUT = re.compile(r"(?P<name>\S.*?) (?P<kind>Class|Struct|Union|Interface|Protocol|Namespace|Concept)(?: Template)? Reference$")
# By the first words of the heading that members stand under that match.
_KINDS = (
    ("Constructor", "method"), ("Member Function", "method"), ("Member Typedef", "type"), ("Typedef", "type"),
    ("Member Enumeration", "enum"), ("Enumeration", "enum"), ("Member Data", "attribute"), ("Variable", "data"),
    ("Macro", "macro"), ("Define", "macro"), ("Property", "property"), ("Event", "event"), ("Friends", "function"),
    ("Related", "function"), ("Function", "function"), ("Method", "method"), ("Class", "class"),
)  # fmt: skip
_TEMPLATE = re.compile(r"\s*<[^<>]*>")
_SCOPE = re.compile(r"[\w:~]*::$")
_FIELDS = "dl.section, dl.params, dl.tparams, dl.exception, dl.retval, dl.deprecated, dl.todo, dl.bug, dl.test, dl.since"


def _shape(main: LexborNode) -> None:
    if main.id:  # no anchor of its title
        del main.attrs["id"]
    for title in main.css("div.title"):
        title.attrs["data-as"] = "h1"
        if match := _ABOUT.match(line(title)):
            title.attrs["data-name"], title.attrs["data-kind"] = _plain(match["name"]), match["kind"].lower()
    for link in main.css("a[href*='#']"):
        if link.text() == "More...":
            link.decompose()
    for code in main.css("div.fragment"):
        code.inner_html = escape("\n".join(row.text().rstrip() for row in code.css("div.line")), quote=False)
        code.attrs["data-as"] = "pre"
    for parameters in main.css(".compoundTemplParams"):
        parameters.inner_html = f"<code>{escape(one_line(parameters.text(separator=' ')))}</code>"
    for rule in main.css(".contents > hr"):
        if rule.next is not None and rule.next.text().lstrip().startswith("The documentation for this"):
            while rule.next is not None:  # from which files the page was made
                rule.next.decompose()
    for table in main.css("table:has(> tbody > tr > td [data-as=pre])"):
        _head_columns(table)
    for table in main.css("table.memberdecls"):
        _replace(table, _declarations(table))
    kind = "symbol"
    for heading in main.css("h2"):
        classes = heading.attributes.get("class") or ""
        if "memtitle" in classes:
            _member(heading, kind)
        elif "groupheader" in classes:
            kind = next((kind for words, kind in _KINDS if line(heading).startswith(words)), "symbol")
    for label in main.css(".mlabel"):
        label.insert_after(" ")
    for field in inner_first(main, _FIELDS):
        _field(field)


def _plain(name: str) -> str:
    """A name without arguments of templates."""
    while (shorter := _TEMPLATE.sub("", name)) != name:
        name = shorter
    return name.strip()


def _replace(node: LexborNode, html: str) -> None:
    new = LexborHTMLParser(f"<div>{html}</div>").css_first("div")
    if new is not None:
        node.replace_with(new)


def _head_columns(table: LexborNode) -> None:
    """In a table that shows code side by side, each side stands under its head."""
    rows = table.css("tr")
    heads, cells = (rows[0].css("th"), rows[1].css("td")) if len(rows) == 2 else ([], [])
    if heads and len(heads) == len(cells):
        for head, cell in zip(heads, cells, strict=True):
            cell.inner_html = f"<p><strong>{escape(line(head))}</strong></p>{cell.inner_html}"
        rows[0].decompose()


def _declarations(table: LexborNode) -> str:
    """The overview of a kind of members: heading, and a list item for each; those inherited are told on another page."""
    html, items, template = [], [], ""
    for row in table.css("tr"):
        classes = row.attributes.get("class") or ""
        if classes.startswith("memitem:") and " inherit " not in classes:
            left, right = row.css_first(".memItemLeft, .memTemplItemLeft"), row.css_first(".memItemRight, .memTemplItemRight")
            if left is None or right is None:
                template = line(row)
                continue
            items.append(_declaration(template, line(left), right))
            template = ""
        elif classes.startswith("memdesc:") and " inherit " not in classes and items:
            description = row.css_first(".mdescRight")
            items[-1] += f" {description.inner_html}" if description is not None else ""
        elif not classes.startswith(("memitem:", "memdesc:", "separator:")):
            html.append(_list(items))
            items = []
            heading, cell = row.css_first("h2"), row.css_first("td")
            for image in row.css("img"):
                image.decompose()
            if heading is not None:
                html.append(heading.html or "")
            elif cell is not None:
                html.append(f"<p>{(cell.inner_html or '').replace('&nbsp;', '').strip()}</p>")
    return "".join([*html, _list(items)])


def _declaration(template: str, left: str, right: LexborNode) -> str:
    link = right.css_first("a[href]")
    if link is not None and "#" not in (link.attributes.get("href") or "#"):  # a class, a group, a file
        return f"{escape(f'{template} {left}'.strip())} {right.inner_html}"
    return f"<code>{escape(one_line(f'{template} {left} {line(right)}'))}</code>"


def _list(items: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>" if items else ""


def _member(title: LexborNode, kind: str) -> None:
    """Title and box of a member → an entry."""
    anchor, member = before(title), after(title)
    proto = member.css_first(".memproto") if member is not None else None
    if member is None or proto is None:
        return
    for overload in title.css(".overload, .permalink"):
        overload.decompose()
    short = re.sub(r"\s*\(\)$", "", line(title))
    declared = proto.css_first("td.memname")
    written = line(declared) if declared is not None else ""
    scope = _SCOPE.search(_plain(written[: max(written.rfind(short), 0)]))
    name = f"{scope[0] if scope else ''}{short}"
    labels = [line(label) for label in proto.css(".mlabel")]
    for label in proto.css("td.mlabels-right"):
        label.decompose()
    signature = one_line(" ".join(line(part) for part in proto.css(".memtemplate, table.memname td")))
    member.attrs["data-as"] = "dl"
    proto.attrs["data-as"], proto.attrs["data-name"], proto.attrs["data-kind"] = "dt", name, kind
    if anchor is not None and anchor.id:
        proto.attrs["id"] = anchor.id
    proto.inner_html = escape(f"{signature} [{', '.join(labels)}]" if labels else signature)
    for text in member.css(".memdoc")[:1]:
        text.attrs["data-as"] = "dd"
    scoped = f"{name}::" if "strong" in labels or "enum class" in signature else scope[0] if scope else ""
    for value in member.css("td.fieldname"):
        for mark in value.css("a[id]")[:1]:
            mark.attrs["data-as"], mark.attrs["data-name"], mark.attrs["data-kind"] = "span", scoped + line(value), "enumerator"
    title.decompose()


def _field(field: LexborNode) -> None:
    """`Returns`, `Parameters`, `Note`: a label before text, written as a list of one term."""
    term, texts = field.css_first("dt"), [text for text in field.css("dd") if text.parent and text.parent.mem_id == field.mem_id]
    if term is None or not texts:
        return
    label = line(term)
    term.decompose()
    for text in texts:
        text.attrs["data-as"] = "div"
    label_block(texts[0], label)
    field.attrs["data-as"] = "div"


PROFILE = Profile(
    name="doxygen",
    marks="meta[name=generator][content^=Doxygen]",
    main=("#doc-content", "body"),
    drop=(
        "#top, #titlearea, #side-nav, #nav-path, #MSearchSelectWindow, #MSearchResultsWindow, .header > .summary, .ingroups, "
        ".title .mlabels, .dynheader, .dynsummary, .dyncontent, .ttc, .lineno, .permalink, .memSeparator, p.definition, "
        "a.top, .directory .levels, .icona, .arrow, address.footer, .navpath, .footer"
    ),
    shape=_shape,
)
