"""From a page's bytes to a Document. Owns selectolax, markdownify and trafilatura; knows nothing of sites or stores.

charset.decode                bytes → text                                                    webencodings
text.to_html                  Markdown and plain text → HTML                                  markdown-it-py
html.extract_html             links, redirect, title, the generator's profile, main content   selectolax
hidden.drop_hidden            without what the page hides                                     selectolax
markdown.sections             headings and entries with their anchors, Markdown below them    markdownify
"""

from docworker.extract.page import extract

__all__ = ["extract"]
