"""A page's bytes → title, sections of Markdown with anchors, links, and what the page says about itself."""

import codecs
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.extract import extract
from docworker.model import Extracted, Section

URL = "https://x.org/docs/page.html"


def page(html: str | bytes, charset: str | None = "utf-8") -> Extracted:
    return extract(URL, html if isinstance(html, bytes) else html.encode(), charset)


def found(html: str) -> list[tuple[int, str, str | None, str]]:
    """Level, heading, anchor and text of each section."""
    return [(s.level, s.heading, s.anchor, s.text) for s in page(html).document.sections]


def text(html: str) -> str:
    """The Markdown of `html` as it stands below a heading."""
    (section,) = page(f"<h1>Title</h1>{html}").document.sections
    assert (section.level, section.heading) == (1, "Title")
    return section.text


def all_text(extracted: Extracted) -> str:
    return "\n".join(f"{s.heading}\n{s.text}" for s in extracted.document.sections)


# -- title and site


@pytest.mark.parametrize(
    ("html", "title", "site"),
    [
        ("<title>Paths — Handbook</title><h1>Paths</h1>x", "Paths", "Handbook"),
        ("<title>Paths | The Handbook</title><h1>All about paths</h1>x", "All about paths", "The Handbook"),
        ("<title>Paths - Files - Handbook</title><h1>Paths</h1>x", "Paths", "Handbook"),
        ("<title>\n  Well-known   paths\n</title><h2>One</h2>x", "Well-known paths", None),
        ("<title>Paths</title><h2>One</h2>x<h1>Late</h1>", "Late", None),
        ("<h2>One</h2>x<h2>Two</h2>y", "One", None),
        ("<h1></h1><h2>One</h2>x", "One", None),
        ("<title>Bücher &amp; mehr</title><h2>One</h2>x", "Bücher & mehr", None),
    ],
)
def test_the_title_is_the_top_heading_else_the_documents_else_the_first_heading(html: str, title: str, site: str | None) -> None:
    document = page(html).document
    assert (document.title, document.site) == (title, site)


def test_the_title_of_a_drawing_is_not_the_pages() -> None:
    assert page("<body><svg><title>Menu</title></svg><h2>One</h2>x").document.title == "One"


# -- headings and anchors


def test_headings_begin_sections_with_what_stands_below_them() -> None:
    assert found("<body>Before.<h1>A</h1><p>one</p><h2>B</h2><p>two</p><h4>C</h4><p>three</p><h2>D</h2>") == [
        (0, "", None, "Before."),
        (1, "A", None, "one"),
        (2, "B", None, "two"),
        (4, "C", None, "three"),
        (2, "D", None, ""),
    ]


@pytest.mark.parametrize(
    "html",
    [
        "<h2 id=here>Part</h2>",
        "<a name=here></a><h2>Part</h2>",
        "<a id=here></a>\n<h2>Part</h2>",
        "<span id=here></span><h2>Part</h2>",
        "<section id=here><h2>Part</h2></section>",
        "<div id=here><div><h2>Part</h2></div></div>",
        "<section id=here><a></a><h2>Part</h2></section>",
        "<h2><a id=here></a>Part</h2>",
        "<h2><a name=here>Part</a></h2>",
        "<h2><span id=here>Part</span></h2>",
        "<h2 id=here><span id=other>Part</span></h2>",
        "<section id=other><h2 id=here>Part</h2></section>",
    ],
)
def test_a_heading_is_cited_by_the_anchor_that_belongs_to_it(html: str) -> None:
    assert found(f"<h1>Title</h1>{html}<p>x")[-1][:3] == (2, "Part", "here")


@pytest.mark.parametrize(
    "html",
    [
        "<h2>Part</h2>",
        "<section id=other><p>Text first.</p><h2>Part</h2></section>",
        "<a name=other>Words</a><h2>Part</h2>",
        "<h2 id=''>Part</h2>",
    ],
)
def test_a_heading_is_not_cited_by_an_anchor_of_something_else(html: str) -> None:
    assert [anchor for _, heading, anchor, _ in found(f"<h1>Title</h1>{html}<p>x") if heading == "Part"] == [None]


@pytest.mark.parametrize("glyph", ["¶", "#", "§", "🔗", "\u200b", "\uf0c1", "", "<svg></svg>", "<i class=icon></i>", "&para;"])
def test_a_permalink_is_no_part_of_a_heading_or_term_whatever_it_shows(glyph: str) -> None:
    html = f"<h1 id=a>Part<a href='#a'>{glyph}</a></h1><dl><dt id=f>f()<a class=x href='#f'>{glyph}</a></dt><dd>Does f.</dd></dl>"
    assert found(html)[0][1] == "Part"
    assert found(html)[1][3] == "`f()`\n\nDoes f."


def test_a_heading_that_is_itself_a_link_keeps_its_words() -> None:
    assert found("<h1 id=a><a href='#a'>All of it</a></h1>x")[0][1] == "All of it"


def test_a_line_break_in_a_heading_parts_words() -> None:
    assert found("<h1>One<br>two</h1>x")[0][1] == "One two"


def test_a_heading_in_a_table_or_a_list_is_kept() -> None:
    assert found("<h1>T</h1><table><tr><td><h3 id=a>In table</h3>cell</td></tr></table>")[-1] == (3, "In table", "a", "cell")
    assert found("<h1>T</h1><ul><li><h2 id=q>Question</h2><p>Answer</p></li></ul>")[-1] == (2, "Question", "q", "Answer")


@pytest.mark.parametrize("tag", ["b", "strong", "i", "em", "code"])
def test_a_heading_in_an_inline_element_is_a_heading(tag: str) -> None:
    assert found(f"<h1>T</h1><{tag}><h2 id=a>Part</h2></{tag}><p>x")[-1] == (2, "Part", "a", "x")


# -- code


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<pre>x = 1</pre>", "```\nx = 1\n```"),
        ("<pre><code>x = 1\n</code></pre>", "```\nx = 1\n```"),
        ("<pre>\n  indented\n\tby tab\n\n    deeper\n</pre>", "```\n  indented\n\tby tab\n\n    deeper\n```"),
        ("<pre>a &lt; b &amp;&amp; *c* _d_ \\e</pre>", "```\na < b && *c* _d_ \\e\n```"),
        (
            "<div class='highlight-python3 notranslate'><div class=highlight><pre><span></span>x</pre></div></div>",
            "```python\nx\n```",
        ),
        ("<pre><code class='language-rust'>x</code></pre>", "```rust\nx\n```"),
        ("<pre class='language-js'><code>x</code></pre>", "```javascript\nx\n```"),
        ("<pre><code class='hljs lang-c++'>x</code></pre>", "```c++\nx\n```"),
        ("<pre class='brush: java'>x</pre>", "```\nx\n```"),
        ("<pre><code data-lang=toml>x</code></pre>", "```toml\nx\n```"),
        ("<div class='highlight highlight-source-shell'><pre>x</pre></div>", "```bash\nx\n```"),
        ("<div class='highlight-default notranslate'><div class=highlight><pre>x</pre></div></div>", "```\nx\n```"),
        (
            "<pre><span class=k>def</span> <span>f</span>(<i>a</i>):\n    <b>return</b> a</pre>",
            "```\ndef f(a):\n    return a\n```",
        ),
        ("<pre>```\ninner\n```</pre>", "````\n```\ninner\n```\n````"),
        ("<pre>`a` and ``b``</pre>", "```\n`a` and ``b``\n```"),
        ("<pre>   </pre>", ""),
    ],
)
def test_a_code_block_is_exact_and_names_its_language(html: str, markdown: str) -> None:
    assert text(html) == markdown


def test_blank_lines_in_code_are_kept() -> None:
    assert text("<pre>import a\n\n\ndef f(): ...</pre>") == "```\nimport a\n\n\ndef f(): ...\n```"


def test_a_line_break_in_code_is_a_line() -> None:
    html = (
        "<pre class='language-sh'><code><span class=token-line>ls<br></span><span class=token-line>npm i<br></span></code></pre>"
    )
    assert text(html) == "```bash\nls\nnpm i\n```"


def test_code_beside_its_line_numbers_is_a_code_block() -> None:
    html = (
        "<table class=highlighttable><tr><td class=linenos><pre>1\n2</pre></td>"
        "<td class=code><div class=highlight><pre>x = 1\ny = 2\n</pre></div></td></tr></table>"
    )
    assert "```\nx = 1\ny = 2\n```" in text(html)


def test_inline_code_keeps_its_characters() -> None:
    assert (
        text("<p>Call <code>a*b_c</code>, <code>&lt;div&gt;</code> or <code>co`de</code>.</p>")
        == "Call `a*b_c`, `<div>` or `` co`de ``."
    )


def test_words_are_not_escaped() -> None:
    assert text("<p>snake_case * 2 * 3 __init__ [x](y) &lt;T&gt;</p>") == "snake_case * 2 * 3 __init__ [x](y) <T>"


# -- tables, lists, definitions


def test_a_table_is_a_table() -> None:
    html = (
        "<table><thead><tr><th>Name</th><th>Use</th></tr></thead><tbody><tr><td>a<td>one</tr><tr><td>b<td><p>two</p></tr></table>"
    )
    assert text(html) == "| Name | Use |\n| --- | --- |\n| a | one |\n| b | two |"


def test_a_table_with_code_in_a_cell_is_its_cells_one_after_the_other() -> None:
    found = text("<table><tr><th>A<th>B</tr><tr><td>x<td><pre>one = 1\ntwo = 2</pre></tr></table><p>After.</p>")
    assert found == "A\n\nB\n\nx\n\n```\none = 1\ntwo = 2\n```\n\nAfter."


def test_a_bar_in_a_cell_is_escaped() -> None:
    assert text("<table><tr><th>A<th>B</tr><tr><td>str | None<td>x</tr></table>").split("\n")[-1] == r"| str \| None | x |"


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<ul><li>one</li><li>two<ul><li>deep</li></ul></li><li>three</li></ul>", "- one\n- two\n  - deep\n- three"),
        ("<ol><li>one<li>two</ol>", "1. one\n2. two"),
        ("<ol start=3><li>three<li>four</ol>", "3. three\n4. four"),
        ("<dl><dt>Term<dd>What it is.<dt>Other<dd>More.</dl>", "**Term**\n\nWhat it is.\n\n**Other**\n\nMore."),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<p>A <a href=x>link</a>, <b>bold</b>, <i>leaning</i>.</p>", "A [link](https://x.org/docs/x), **bold**, *leaning*."),
        ("<p><img src=x.png alt='A drawing of it'></p>", "A drawing of it"),
        ("<details><summary>Short</summary><p>Long</p></details>", "**Short**\n\nLong"),
    ],
)
def test_lists_definitions_and_paragraphs(html: str, markdown: str) -> None:
    assert text(html) == markdown


def test_an_api_description_is_entries_and_the_section_goes_back_after_it() -> None:
    html = """
    <section id=api><h1>API</h1><p>Intro.</p>
    <dl class='py class'><dt class='sig sig-object py' id=pkg.Stack><em>class</em> <span>pkg.</span><span>Stack</span>(size)</dt>
    <dd><p>A stack.</p>
      <dl class='py method'><dt id=pkg.Stack.pop><span>pop</span>(n=1)</dt><dd><p>Takes one.</p></dd></dl>
      <dl class='py method'><dt id=pkg.Stack.push>async push(item)</dt><dd><p>Adds one.</p><pre>s.push(1)</pre></dd></dl>
    </dd></dl><p>After the list.</p></section>
    """
    assert page(html).document.sections == (
        Section(1, "API", "api", "Intro."),
        Section(2, "pkg.Stack", "pkg.Stack", "`class pkg.Stack(size)`\n\nA stack.", entry=True),
        Section(3, "pkg.Stack.pop", "pkg.Stack.pop", "`pop(n=1)`\n\nTakes one.", entry=True),
        Section(3, "pkg.Stack.push", "pkg.Stack.push", "`async push(item)`\n\nAdds one.\n\n```\ns.push(1)\n```", entry=True),
        Section(1, "API", "api", "After the list."),
    )


def test_text_of_a_class_after_its_methods_belongs_to_the_class() -> None:
    html = "<h1>T</h1><dl><dt id=C>C</dt><dd><dl><dt id=C.f>f()</dt><dd>Does f.</dd></dl><p>More of C.</p></dd></dl>"
    assert found(html)[-1] == (2, "C", "C", "More of C.")


def test_terms_that_share_a_description_are_one_entry() -> None:
    html = "<h1>T</h1><dl><dt id=a>-v</dt><dt id=b>--verbose</dt><dd>Says more.</dd><dt id=c>-q</dt><dd>Says less.</dd></dl>"
    assert found(html)[1:] == [(2, "-v", "a", "`-v`\n\n`--verbose`\n\nSays more."), (2, "-q", "c", "`-q`\n\nSays less.")]


@pytest.mark.parametrize("kind", ["footnote", "citation", "footnote brackets"])
def test_notes_at_the_end_of_a_page_are_no_entries(kind: str) -> None:
    assert text(f"<p>Text.</p><dl class='{kind}'><dt id=id1>1</dt><dd>The note.</dd></dl>") == "Text.\n\n**1**\n\nThe note."


@pytest.mark.parametrize("tag", ["p", "div", "section"])
def test_an_empty_block_parts_words(tag: str) -> None:
    assert text(f"<p>x</p>First <{tag}></{tag}> second").split() == ["x", "First", "second"]


# -- what is content


@pytest.mark.parametrize(
    "html",
    [
        "<nav>dropped</nav>",
        "<footer>dropped</footer>",
        "<script>dropped()</script>",
        "<style>.dropped {}</style>",
        "<noscript>dropped</noscript>",
        "<template>dropped</template>",
        "<svg><text>dropped</text></svg>",
        "<form><button>dropped</button><select><option>dropped</select><textarea>dropped</textarea><input value=dropped></form>",
        "<div role=navigation>dropped</div>",
        "<div role=search>dropped</div>",
        "<div class=sphinxsidebar>dropped</div>",
        "<ul class=breadcrumbs><li>dropped</ul>",
        "<!-- dropped -->",
        "<iframe src=x>dropped</iframe>",
    ],
)
def test_what_a_reader_did_not_come_for_is_dropped(html: str) -> None:
    assert text(f"<p>Kept.</p>{html}<p>Also kept.</p>") == "Kept.\n\nAlso kept."


@pytest.mark.parametrize(
    "main", ["<main>{}</main>", "<div role=main>{}</div>", "<article>{}</article>", "<div id=content>{}</div>"]
)
def test_an_element_that_says_it_is_the_main_one_is_taken(main: str) -> None:
    content = "<h1>Title</h1><p>What the reader came for, in some words.</p>"
    html = f"<body><div>Sidebar</div>{main.format(content)}<div>Advertisement</div></body>"
    assert [(heading, below) for _, heading, _, below in found(html)] == [("Title", "What the reader came for, in some words.")]


def test_a_main_element_with_little_of_the_text_is_not_believed() -> None:
    html = f"<main>Loading</main><h1>Title</h1><p>{'All of the text. ' * 20}</p>"
    assert found(html)[-1][3].startswith("All of the text.")


def test_several_articles_are_no_main_one() -> None:
    assert "first" in all_text(page("<h1>T</h1><article>first</article><article>second</article>"))
    assert "second" in all_text(page("<h1>T</h1><article>first</article><article>second</article>"))


# -- links and redirects


def test_links_are_absolute_in_page_order_each_once() -> None:
    html = """<nav><a href=a>1</a></nav><a href=' /b#part '>2</a><map><area href=../c></map><iframe src=d></iframe>
    <a href=a>again</a><a href='?q=1'>q</a><a href='https://y.org'>y</a><a>none</a><a href=''>empty</a>"""
    assert page(f"<h1>T</h1>{html}").links == (
        "https://x.org/docs/a",
        "https://x.org/b#part",
        "https://x.org/c",
        "https://x.org/docs/d",
        "https://x.org/docs/page.html?q=1",
        "https://y.org",
    )


@pytest.mark.parametrize(
    ("base", "link"),
    [("/other/", "https://x.org/other/a"), ("https://y.org/b/c", "https://y.org/b/a"), ("http://[bad", "https://x.org/docs/a")],
)
def test_links_are_resolved_against_the_pages_base(base: str, link: str) -> None:
    assert page(f"<base href='{base}'><h1>T</h1><a href=a>a</a>").links == (link,)


@pytest.mark.parametrize(
    "href", ["http://[user@]host/path", "http://[::1", "#part", "mailto:a@x.org", "javascript:void(0)", "tel:1", "data:,x"]
)
def test_a_link_that_leads_nowhere_is_left_out_and_harms_nothing(href: str) -> None:
    assert page(f"<h1>T</h1><a href='{href}'>a</a><a href=ok>b</a>").links == ("https://x.org/docs/ok",)


@pytest.mark.parametrize(
    ("content", "target"),
    [
        ("0; url=new.html", "https://x.org/docs/new.html"),
        ("0;URL='new.html'", "https://x.org/docs/new.html"),
        ("0;URL=&quot;new.html&quot;", "https://x.org/docs/new.html"),
        ("0; ./new.html", "https://x.org/docs/new.html"),
        ("0,url=new.html", "https://x.org/docs/new.html"),
        (" 1.5 ; Url = /new", "https://x.org/new"),
        ("0; url=https://y.org/a?b=c;d", "https://y.org/a?b=c;d"),
        ("10; url=new.html", "https://x.org/docs/new.html"),
        ("11; url=new.html", None),
        ("300; url=new.html", None),
        ("0; url=page.html", None),
        ("0; url=page.html#part", None),
        ("0; url=http://[bad", None),
        ("", None),
        ("5;", None),
    ],
)
def test_a_page_that_moves_on_at_once_says_where_it_lives(content: str, target: str | None) -> None:
    assert page(f'<meta http-equiv=Refresh content="{content}"><h1>T</h1>').redirect == target


@pytest.mark.parametrize("content", ["5", "0", "10", "30", "0; url=", "soon"])
def test_a_page_that_only_reloads_itself_does_not_move(content: str) -> None:
    assert page(f'<meta http-equiv=refresh content="{content}"><h1>T</h1>').redirect is None


# -- what a page says about itself


@pytest.mark.parametrize(
    ("head", "canonical"),
    [
        ("<link rel=canonical href=https://x.org/docs/other>", "https://x.org/docs/other"),
        ("<link rel=Canonical href=other>", "https://x.org/docs/other"),
        ("<link rel='alternate canonical' href=/other>", "https://x.org/other"),
        ("<base href=/base/><link rel=canonical href=other>", "https://x.org/base/other"),
        ("<link rel=canonical href=https://y.org/a>", "https://y.org/a"),
        ("<link rel=canonical href=page.html>", URL),
        ("<link rel=canonical href=a><link rel=canonical href=a>", "https://x.org/docs/a"),
        ("<link rel=canonical href=a><link rel=canonical href=b>", None),
        ("<link rel=canonical>", None),
        ("<link rel=canonical href=''>", None),
        ("<link rel=canonical href='http://[bad'>", None),
        ("<link rel=canonical href=javascript:void(0)>", None),
        ("<link rel=canonicals href=a><link rel=alternate href=b><link href=c>", None),
        ("", None),
    ],
)
def test_a_page_may_say_where_its_content_lives(head: str, canonical: str | None) -> None:
    assert page(f"<head>{head}</head><h1>T</h1>x").canonical == canonical


def test_the_original_of_a_page_is_no_link_of_it() -> None:
    assert page("<link rel=canonical href=other><h1>T</h1><a href=a>a</a>").links == ("https://x.org/docs/a",)


@pytest.mark.parametrize(
    ("html", "language"),
    [
        ("<html lang=en>", "en"),
        ("<html lang=EN-us>", "en"),
        ("<html lang='de_AT'>", "de"),
        ("<html lang=' fr '>", "fr"),
        ("<html lang=gsw-CH>", "gsw"),
        ("<html xml:lang=ja>", "ja"),
        ("<html lang='' xml:lang=ja>", "ja"),
        ("<html lang=pt xml:lang=ja>", "pt"),
        ("<html>", None),
        ("<html lang=''>", None),
        ("<html lang=x-klingon>", None),
        ("<html lang=english>", None),
        ("<html lang=e>", None),
        ("<html><body lang=de>", None),
        ("", None),
    ],
)
def test_the_language_is_what_the_page_declares(html: str, language: str | None) -> None:
    assert page(f"{html}<h1>T</h1>x").language == language


@pytest.mark.parametrize(
    ("head", "directives"),
    [
        ("<meta name=robots content='noindex, nofollow'>", ("noindex, nofollow",)),
        ("<META NAME=ROBOTS CONTENT=NOINDEX>", ("NOINDEX",)),
        ("<meta name=robots content=noindex><meta name=docworker content=nofollow>", ("noindex", "nofollow")),
        ("<meta name=Docworker content=none>", ("none",)),
        ("<meta name=robots>", ("",)),
        ("<meta name=googlebot content=noindex>", ()),
        ("<meta name=robotsx content=noindex><meta property=robots content=noindex>", ()),
        ("", ()),
    ],
)
def test_robots_directives_are_those_for_all_and_for_docworker(head: str, directives: tuple[str, ...]) -> None:
    assert page(f"<head>{head}</head><h1>T</h1>x").directives == directives


@pytest.mark.parametrize(
    ("html", "share", "links", "prose"),
    [
        ("<p>abcd efgh</p>", 0.0, 0, 8),
        ("<p><a href=x>abcd</a> efgh</p>", 0.5, 1, 4),
        ("<ul><li><a href=x>abcd</a><li><a href=y>ef</a><li>gh</ul>", 0.75, 2, 0),
        ("<p>abcd <a href=#part>efgh</a></p>", 0.0, 0, 4),
        ("<p>abcd <a name=x>efgh</a></p>", 0.0, 0, 8),
        ("<a href=x></a><p>abcd</p>", 0.0, 1, 4),
        ("<p>ab</p><p>abcdef</p><p>abcd</p>", 0.0, 0, 6),
        ("", 0.0, 0, 0),
    ],
)
def test_how_much_of_the_main_content_stands_in_links(html: str, share: float, links: int, prose: int) -> None:
    extracted = page(f"<body><nav><a href=menu>Menu of the whole site</a></nav><main>{html}</main></body>")
    assert (extracted.linked_share, extracted.main_links, extracted.prose_chars) == (share, links, prose)


def test_a_table_of_contents_and_a_diagram_count_as_content_but_their_text_is_not_kept() -> None:
    html = (
        "<main><h1>Class</h1><div class=toc><ul><li><a href=a.html>Alpha</a><li><a href=b.html>Beta</a></ul></div>"
        "<svg><a href=c.html><text>Gamma</text></a></svg><p>The text.</p></main>"
    )
    extracted = page(html)
    assert extracted.main_links == 3
    assert 0.4 < extracted.linked_share < 0.6
    assert [(s.heading, s.text) for s in extracted.document.sections] == [("Class", "The text.")]


@pytest.mark.parametrize(
    "html",
    [
        "<input type=search>",
        "<input name=q>",
        "<form role=search><input></form>",
        "<nav><form><input type=text name=q></form></nav>",
        "<div id=search-results></div>",
        "<div id=searchresults></div>",
    ],
)
def test_a_page_that_can_search_the_site_is_told(html: str) -> None:
    assert page(f"<h1>T</h1>{html}").search_form is True


@pytest.mark.parametrize(
    "html", ["<input name=email>", "<p>search</p>", "<form><input type=text></form>", "<div id=search></div>"]
)
def test_a_page_that_cannot_search_the_site_is_told(html: str) -> None:
    assert page(f"<h1>T</h1>{html}").search_form is False


# -- bytes


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<h1>“Größe” – €</h1>".encode(), "utf-8"),
        ("<h1>“Größe” – €</h1>".encode(), "UTF8"),
        ("<h1>“Größe” – €</h1>".encode(), None),
        ("<h1>“Größe” – €</h1>".encode("cp1252"), "iso-8859-1"),
        ("<h1>“Größe” – €</h1>".encode("cp1252"), "latin1"),
        ("<h1>“Größe” – €</h1>".encode("cp1252"), "us-ascii"),
        ("<h1>“Größe” – €</h1>".encode("cp1252"), None),
        ("<meta charset=iso-8859-15><h1>“Größe” – €</h1>".encode("iso-8859-15", "xmlcharrefreplace"), None),
        ("<meta http-equiv=Content-Type content='text/html; charset=utf-8'><h1>“Größe” – €</h1>".encode(), None),
        ("<meta charset=utf-8><h1>“Größe” – €</h1>".encode("cp1252"), "cp1252"),
        (codecs.BOM_UTF8 + "<h1>“Größe” – €</h1>".encode(), "iso-8859-1"),
        (codecs.BOM_UTF16_LE + "<h1>“Größe” – €</h1>".encode("utf-16-le"), None),
        (codecs.BOM_UTF16_BE + "<h1>“Größe” – €</h1>".encode("utf-16-be"), "utf-8"),
        ("<h1>“Größe” – €</h1>".encode(), "no-such-charset"),
        ("<meta charset=no-such-charset><h1>“Größe” – €</h1>".encode(), None),
    ],
)
def test_a_page_is_decoded_as_a_browser_would(body: bytes, charset: str | None) -> None:
    assert page(body, charset).document.title == "“Größe” – €"


def test_bytes_that_do_not_fit_the_charset_cost_only_themselves() -> None:
    assert page("<h1>Größe</h1><p>und Maß</p>".encode("latin-1"), "utf-8").document.sections[0].text == "und Ma�"


@pytest.mark.parametrize("charset", ["hex", "base64", "rot13", "zip", "idna", "undefined", "a\x00b"])
def test_a_charset_that_is_none_of_the_webs_is_ignored(charset: str) -> None:
    assert page("<h1>Größe</h1>", charset).document.title == "Größe"


# -- broken, empty, huge


@pytest.mark.parametrize(
    "html", ["", " ", "<html></html>", "<body></body>", "<!doctype html>", "<nav>Menu</nav>", "<script>x</script>"]
)
def test_an_empty_page_has_no_text(html: str) -> None:
    extracted = page(html)
    assert extracted.document.title == ""
    assert not any(section.text for section in extracted.document.sections)


def test_a_page_without_any_structure_keeps_its_text() -> None:
    sentences = "Some text without any heading, as old pages have it. It goes on for a while."
    assert found(f"<body><p>{sentences}</p><p>And a second paragraph, which is text too.</p>") == [
        (0, "", None, f"{sentences}\n\nAnd a second paragraph, which is text too.")
    ]


def test_a_page_that_closes_nothing_is_read() -> None:
    html = "<h1>Title</h1><p>para <b>bold <ul><li>item <p>more <table><tr><td>cell <dl><dt id=x>term <dd>def <pre>code"
    result = all_text(page(html))
    for word in ("Title", "para", "bold", "item", "more", "cell", "term", "def", "code"):
        assert word in result


def test_a_heading_that_is_never_closed_loses_no_text() -> None:
    result = all_text(page(f"<h1>Title<p>{'word ' * 60}</p><pre>code()</pre><p>the end"))
    assert "the end" in result


@pytest.mark.parametrize("tag", ["div", "span", "b", "blockquote", "section"])
def test_markup_nested_thousands_deep_keeps_its_words(tag: str) -> None:
    result = all_text(page(f"<h1>Title</h1><p>Before.</p>{f'<{tag}>' * 5_000}deep words"))
    assert "Before." in result
    assert "deep words" in result


@pytest.mark.parametrize("html", ["\x021\x02", "a \x02 b", "<p>\x029\x02</p>", "<pre>\n\x020\x02\n</pre>", "\x00"])
def test_control_characters_cannot_be_taken_for_marks(html: str) -> None:
    assert [s.heading for s in page(f"<h1>T</h1><p>Text.</p>{html}").document.sections] == ["T"]


DROPPED = ["script", "style", "nav", "template", "button", "textarea", "svg", "noscript"]
INLINE = ["b", "i", "code", "a", "span"]
HEADINGS = ["h1", "h2", "h3"]
BLOCKS = ["p", "div", "pre", "ul", "li", "table", "tr", "td", "th", "dl", "dt", "dd", "section", "blockquote"]


def soup(kept: list[str]) -> st.SearchStrategy[list[str]]:
    """Words between tags of `kept` that open and close anywhere; few and short, as a heading is cut to 160 characters."""
    piece = st.one_of(
        st.integers(0, 99).map(lambda n: f" k{n:02} "),
        st.sampled_from(DROPPED).map(lambda tag: f"<{tag}>gone</{tag}>"),
        st.sampled_from(kept).map(lambda tag: f"<{tag}>"),
        st.sampled_from(kept).map(lambda tag: f"</{tag}>"),
        st.sampled_from(
            ["<dt id=x>", "<pre class=language-x>", "<a name=z></a>", "<br>", "<hr>", "<img alt=''>", "&nbsp;", "`", "|"]
        ),
    )
    return st.lists(piece, max_size=30)


@given(soup([*BLOCKS, *INLINE, *HEADINGS]))
@settings(max_examples=100, deadline=None)
def test_no_soup_of_tags_raises_or_loses_a_word(pieces: list[str]) -> None:
    html = "<h4>Start</h4><dl><dt id=a>Term</dl>" + "".join(pieces)  # with an entry, trafilatura is not asked
    extracted = page(html)
    shown = all_text(extracted)
    words = {piece.strip() for piece in pieces if piece.startswith(" k")}
    assert words <= set(re.findall(r"k\d\d", shown)), f"{html!r} became {extracted.document.sections!r}"
    assert "gone" not in shown
    assert extracted == page(html)


@given(st.binary(max_size=200), st.sampled_from([None, "utf-8", "shift_jis", "gb18030", "utf-16", "iso-8859-1"]))
@settings(max_examples=100, deadline=None)
def test_no_bytes_raise(body: bytes, charset: str | None) -> None:
    assert page(b"<h1>T</h1>" + body, charset) == page(b"<h1>T</h1>" + body, charset)


def test_code_blocks_inside_one_another_are_one() -> None:
    html = "<pre><code><div class=highlight><pre class=language-c>int x;\nint y &lt; 2;</pre></div></code></pre>"
    assert text(html) == "```\nint x;\nint y < 2;\n```"


# -- profiles


SPHINX_HEAD = "<head><title>T — Site</title><script id=documentation_options></script></head>"


def test_a_page_is_read_by_the_profile_of_its_generator() -> None:
    read = page(f"<html>{SPHINX_HEAD}<body><div role=main><h1>T</h1><p>Text.</p></div></body></html>")
    assert (read.generator, read.fell_back) == ("sphinx", None)
    assert page("<h1>T</h1><p>Text.").generator == "generic"


def test_a_page_on_which_its_profile_finds_nothing_is_read_the_generic_way_and_that_is_told() -> None:
    read = page(f"<html>{SPHINX_HEAD}<body><div role=main> </div><article><h1>T</h1><p>Text.</p></article></body></html>")
    assert (read.generator, read.fell_back) == ("generic", "sphinx")
    assert [section.text for section in read.document.sections] == ["Text."]


def test_a_page_may_be_read_without_profiles() -> None:
    html = f"<html>{SPHINX_HEAD}<body><div role=main><h1>T</h1><p>Text.</p></div></body></html>".encode()
    assert extract(URL, html, None, profiles=()).generator == "generic"


@pytest.mark.parametrize("content_type", ["text/html", "application/xhtml+xml"])
def test_elements_that_close_themselves_hold_nothing(content_type: str) -> None:
    html = '<html><body><h1>T</h1><p>One <a id="x"/>two.</p><div class="gap"/><h2 id="h">Part</h2><p>Three.</p></body></html>'
    read = extract(URL, html.encode(), "utf-8", content_type)
    assert [(s.heading, s.anchor, s.text) for s in read.document.sections] == [("T", None, "One two."), ("Part", "h", "Three.")]


def test_where_a_site_lists_its_names_is_told() -> None:
    assert page(f"<html>{SPHINX_HEAD}<body>x</body></html>").inventory is None
    for marked in ('<html data-content_root="../">', "<html><script id=documentation_options data-url_root='../'></script>"):
        assert page(f"{marked}<body><h1>T</h1>").inventory == "https://x.org/objects.inv"


def test_a_notes_title_may_stand_in_one_box_with_its_text() -> None:
    html = "<div class='callout note'><div><p class=callout-title>Mind this</p><ul><li>one</li></ul></div></div>"
    assert text(html) == "**Mind this:**\n\n- one"


def test_details_around_a_note_are_no_note() -> None:
    html = "<details class=more><summary>More</summary><p>Text.</p><div class=note><p>Inner.</p></div></details>"
    assert text(html) == "**More**\n\nText.\n\n**Note:** Inner."
