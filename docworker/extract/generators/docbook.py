"""DocBook, by its XSL stylesheets: reference pages, lists of terms, tables of functions as those of PostgreSQL's manual."""

import re
from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.profile import Profile
from docworker.extract.shape import line
from docworker.extract.terms import mark_options

_NUMBER = re.compile(r"^(?:[A-Z]|\d+)(?:\.\d+)*\.\s+")
_BACKSLASHED = re.compile(r"\\[A-Za-z?!;.]\w*")
_NAMED = {"setting": "code.varname", "function": "code.function", "symbol": "code.symbol"}
_CELLS = {"func_table_entry": "p.func_signature", "catalog_table_entry": "p.column_definition"}
_ROOTS = "book article set part reference chapter appendix preface refentry sect1 section glossary bibliography colophon"


def _shape(main: LexborNode) -> None:
    for bold in main.css("p.title > strong, p.title > b"):
        bold.unwrap()
    for heading in main.css("h1, h2, h3, h4, h5, h6"):
        named = heading.css_first("code")
        if named is not None and _NUMBER.sub("", line(heading)) != line(named):
            heading.attrs["data-name"] = ""  # a title with code in it, no name
    for term in main.css("div.index dt[id]"):
        del term.attrs["id"]
    for page in main.css("div.refentry"):
        _reference_page(page)
    for dl in main.css("div.variablelist > dl"):
        _terms(dl)
    for term in main.css("div.glosslist dt, div.glossdiv dt, div.glossary dt"):
        term.attrs["data-kind"], term.attrs["data-name"] = "term", line(term)
    for cell, head in _CELLS.items():
        for table in main.css(f"table:has(td.{cell})"):
            _entries(table, f"td.{cell}", head)
    for table in main.css("div.calloutlist > table, table.calloutlist"):
        for number in table.css("td:first-child"):
            number.decompose()
        _list(table, "ol")
    for table in main.css("table.simplelist"):
        _list(table, "ul")
    for image in main.css("pre img[alt]"):  # numbers of callouts
        image.replace_with(image.attributes.get("alt") or "")
    for notes in main.css("table > tbody.footnotes"):
        if (of := notes.parent) is not None:
            for footnote in reversed(notes.css("div.footnote")):
                of.insert_after(footnote)
            notes.decompose()


def _reference_page(page: LexborNode) -> None:
    heading = page.css_first("div.refnamediv > h1, div.refnamediv > h2")
    if heading is None:
        return
    name, synopsis = line(heading), page.css_first("div.refsynopsisdiv")
    if page.css_first(".refnamediv .refentrytitle") is None:
        return
    heading.attrs["data-name"] = name
    heading.attrs["data-kind"] = "function" if synopsis is not None and f"{name}(" in synopsis.text() else "command"


def _terms(dl: LexborNode) -> None:
    """Each of the terms that stand in one `dt` becomes a `dt` of its own."""
    terms = [child for child in dl.iter() if child.tag == "dt"]
    plain: list[LexborNode] = []
    entries = False
    for dt in terms:
        group = [span for span in dt.iter() if "term" in (span.attributes.get("class") or "").split()] or [dt]
        if mark_options(group):
            entries = True
        else:
            kinds = [_kind(term) for term in group]
            for term, kind in zip(group, kinds, strict=True):
                term.attrs["data-name"] = _name(term, kind)
                term.attrs["data-kind"] = kind or "term"
            plain += group
            entries = entries or any(kinds) or dt.id is not None or dt.css_first("a[id], a[name]") is not None
        if group[0].mem_id != dt.mem_id:
            if dt.id and not group[0].id:
                group[0].attrs["id"] = dt.id
            for term in group:
                term.attrs["data-as"] = "dt"
                if len(group) > 1 and line(term).endswith(","):
                    term.inner_html = (term.inner_html or "").rstrip().removesuffix(",")
            dt.unwrap()
    if not entries:
        for term in plain:
            del term.attrs["data-kind"]


def _kind(term: LexborNode) -> str:
    """What a term is, where the markup tells."""
    if term.css_first("code.envar") is not None:
        return "envvar"
    if term.css_first("code.varname") is not None and term.css_first("code.type") is not None:
        return "setting"
    if _BACKSLASHED.match(line(term)) is not None:
        return "command"
    if term.css_first("code.symbol") is not None:
        return "symbol"
    return "function" if term.css_first("code.function") is not None else ""


def _name(term: LexborNode, kind: str) -> str:
    if kind == "command" and (match := _BACKSLASHED.match(line(term))):
        return match.group()
    named = term.css_first(_NAMED.get(kind, "code.envar"))
    return line(term).rstrip(",") if named is None else _function(line(named))


def _function(declared: str) -> str:
    """The name of a function, of its declaration if it is one."""
    before, parenthesis, _ = declared.partition("(")
    return before.split()[-1].lstrip("*") if parenthesis and before.split() else declared


def _entries(table: LexborNode, cells: str, head: str) -> None:
    """A table whose cells each describe one thing, in the signatures that they begin with."""
    labels = [line(label) for label in table.css("th")]
    for part in table.css("thead"):
        part.decompose()
    for row in table.css("tbody > tr"):
        columns = [cell for cell in row.iter() if cell.tag == "td"]
        if len(columns) == len(labels) > 1:  # what stands in further columns belongs to the entry
            more = zip(labels[1:], columns[1:], strict=True)
            text = "".join(f"<p>{escape(label)}: {cell.inner_html}</p>" for label, cell in more)
            columns[0].inner_html = f"{columns[0].inner_html}{text}"
            for cell in columns[1:]:
                cell.decompose()
    for part in [table, *table.css("tbody, tr, td")]:
        part.attrs["data-as"] = "div"
    for cell in table.css(cells):
        cell.attrs["data-as"] = "dl"
        for signature in cell.css(head):
            signature.attrs["data-as"] = "dt"
            if head == "p.func_signature":
                signature.attrs["data-kind"], signature.attrs["data-name"] = _signature(signature)


def _signature(signature: LexborNode) -> tuple[str, str]:
    """Kind and name of what a signature in a table of functions is about: `jar || jar → jar` is about `||`."""
    function = signature.css_first("code.function")
    if function is not None:
        return "function", _function(line(function))
    words = " ".join(line(code) for code in signature.css("code.literal"))
    if words.startswith(". ") and len(words.split()) > 1:  # value . size() → number
        return "method", _function(words.removeprefix(". "))
    return ("operator", words) if words else ("function", line(signature))


def _list(table: LexborNode, kind: str) -> None:
    table.attrs["data-as"] = "div"
    for part, name in (("tbody", kind), ("tr", "li"), ("td", "div")):
        for node in table.css(part):
            node.attrs["data-as"] = name


PROFILE = Profile(
    name="docbook",
    marks="meta[name=generator i][content^='DocBook XSL']",
    main=("#docContent", ", ".join(f"div.{name}" for name in _ROOTS.split()), "body"),
    drop=".list-of-tables, .list-of-figures, .list-of-examples, .list-of-equations, .list-of-procedures",
    shape=_shape,
)
