"""Docusaurus: its classes carry a hash, its themes' stable names begin with `theme-`."""

from docworker.extract.profile import Profile

PROFILE = Profile(
    name="docusaurus",
    marks="meta[name=generator][content^=Docusaurus], #__docusaurus",
    main=("article .theme-doc-markdown", "article .markdown", "main article", "main"),
    drop=(
        ".theme-doc-version-banner, .theme-doc-version-badge, .theme-doc-toc-mobile, .theme-doc-breadcrumbs, "
        ".table-of-contents, .pagination-nav, .theme-doc-footer, [class*=codeBlockLinesWithNumbering] [class*=codeLineNumber]"
    ),
)
