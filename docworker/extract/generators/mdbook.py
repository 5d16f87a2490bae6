"""mdBook."""

from selectolax.lexbor import LexborNode

from docworker.extract.profile import Profile


def _shape(main: LexborNode) -> None:
    for back in main.css("ol.footnote-definition a[href^='#fr-']"):
        back.decompose()
    for notes in main.css("ol.footnote-definition"):
        notes.attrs["class"] = "footnotes-list"
    for note in main.css("div.footnote-definition"):
        label, text = note.css_first(".footnote-definition-label"), note.css_first("p")
        if label is not None and text is not None:
            number = label.text(strip=True)
            label.decompose()
            text.inner_html = f"[{number}] {text.inner_html}"


PROFILE = Profile(
    name="mdbook",
    marks="h1.menu-title, #mdbook-menu-bar, mdbook-sidebar-scrollbox",
    main=("#content main", "#mdbook-content main", "main"),
    drop=".sidebar-toc, .buttons, .nav-wrapper, .mobile-nav-chapters",
    shape=_shape,
)
