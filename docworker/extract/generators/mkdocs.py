"""MkDocs with its own themes, and others that keep their marks."""

from docworker.extract.profile import Profile

PROFILE = Profile(
    name="mkdocs",
    marks=(
        "#mkdocs_search_modal, #mkdocs-search-results, script[src*='theme_extra.js'], link[href*='css/theme_extra.css'], "
        "meta[name=generator][content^='mkdocs-']"
    ),
    main=("[role=main] [itemprop=articleBody]", "[role=main]", "main"),
    drop="#toc-collapse, .bs-sidebar, .rst-content > [role=navigation], .rst-footer-buttons",
)
