"""Whether the code fences of some Markdown are closed: an independent reading, for what is cut."""

import re

# a fence may open right after the marks of a list item or a quotation (CommonMark 4.5, 5.1, 5.2)
_OPENS = re.compile(r"^(?:\s|>|[-*+]\s|\d+[.)]\s)*(`{3,}(?=[^`]*$)|~{3,})")
_CLOSES = re.compile(r"^[\s>]*(`{3,}|~{3,})\s*$")


def are_balanced(text: str) -> bool:
    """Every fence that is opened is closed, and none is closed that was not opened."""
    fence = ""
    for line in text.split("\n"):
        if fence:
            match = _CLOSES.match(line)
            fence = "" if match and match[1].startswith(fence) else fence
        elif match := _OPENS.match(line):
            fence = match[1]
    return not fence
