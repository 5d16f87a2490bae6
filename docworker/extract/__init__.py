"""From a page's bytes to a Document. Owns selectolax, markdownify and trafilatura; knows nothing of sites or stores.

html.read(url, body, charset)     decode, links, redirect by meta refresh, title, main content      selectolax
markdown.sections(main)           headings and API entries with their anchors, Markdown below them   markdownify
"""

from docworker.extract.html import extract

__all__ = ["extract"]
