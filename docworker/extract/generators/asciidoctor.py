"""Asciidoctor, and the sites that Antora makes with it."""

from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.generators import asciidoc
from docworker.extract.profile import Profile
from docworker.extract.shape import line


def _shape(main: LexborNode) -> None:
    asciidoc.shape(main)
    for table in main.css("div.colist > table"):
        table.attrs["data-as"] = "div"
        for number in table.css("td:first-child"):
            number.decompose()
        for part, name in (("tbody", "ol"), ("tr", "li"), ("td", "div")):
            for node in table.css(part):
                node.attrs["data-as"] = name
    for table in main.css("div.hdlist > table"):
        for part, name in (("tbody", "div"), ("tr", "dl"), ("td.hdlist1", "dt"), ("td.hdlist2", "dd")):
            for node in table.css(part):
                node.attrs["data-as"] = name
        table.attrs["data-as"] = "div"
    for box in main.css("ul.checklist i.fa"):
        box.replace_with("[x]" if "fa-check-square-o" in (box.attributes.get("class") or "") else "[ ]")
    for menu in main.css(".menuseq"):
        for caret in menu.css("i.caret"):
            caret.decompose()
        menu.inner_html = (menu.inner_html or "").replace("&nbsp;", "")
    for mark in main.css("sup.footnote, sup.footnoteref"):
        mark.inner_html = f"[{escape(line(mark).strip('[]'))}]"
    for note in main.css("div.footnote[id^=_footnotedef]"):
        if (back := note.css_first("a")) is not None:
            said = (note.inner_html or "").partition("</a>")[2].lstrip(". ")
            note.inner_html = f"[{escape(line(back))}] {said}"


PROFILE = Profile(
    name="asciidoctor",
    marks="meta[name=generator i][content^=Asciidoctor i], meta[name=generator i][content^=Antora i]",
    main=("article.doc", "body"),
    drop="#footer, #toc, #header .details, .toc.sidebar, .nav-container, .toolbar, nav.pagination, .breadcrumbs, .edit-this-page",
    shape=_shape,
)
