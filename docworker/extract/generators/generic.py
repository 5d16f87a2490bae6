"""Any other site: an element that says it is the main one, if it holds enough of the page's text."""

from docworker.extract.profile import Profile

PROFILE = Profile(
    name="generic",
    marks="html",
    main=(
        "main", "[role=main]", "article", "#docContent", "#apicontent", "#main-content", "#content", "#main", ".main-content",
        ".content", ".document", ".body",
    ),
)  # fmt: skip
