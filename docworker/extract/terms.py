"""Options as the terms of definition lists name them, for profiles whose markup does not tell them apart."""

import re

from selectolax.lexbor import LexborNode

from docworker.extract import names
from docworker.extract.shape import before, line

_NEGATABLE = re.compile(r"--\[(no-?)\]([\w-]+)")
_NEXT = re.compile(r",\s*|\s+\|\s+|\s+or\s+(?=-)|\s+(?=--?[A-Za-z0-9])")
_CODE = re.compile(r"^-\d\d")  # of an error
_NUMBER = re.compile(r"^-<\w+>")
_VARIABLE = re.compile(r"^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?:_<\w+>)?$")


def options(term: str) -> list[str]:
    """The options that a term names, with both forms of one that can be negated; none when the term is no option."""
    if _CODE.match(term) or not (_NEGATABLE.match(term) or _NUMBER.match(term) or names.is_option(term)):
        return []
    found: list[str] = []
    for part in _NEXT.split(term):
        if match := _NEGATABLE.match(part):
            found += [f"--{match[2]}", f"--{match[1]}{match[2]}"]
        elif part.startswith("-"):
            found += [part] if _NUMBER.match(part) else names.options(part)
    return found


def is_variable(term: str) -> bool:
    """Whether a term is written as environment variables are."""
    return bool(_VARIABLE.match(term))


def groups(terms: list[LexborNode]) -> list[list[LexborNode]]:
    """The terms of definition lists, those together that share one description."""
    found: list[list[LexborNode]] = []
    for term in terms:
        sibling = before(term)
        if found and sibling is not None and sibling.mem_id == found[-1][-1].mem_id:
            found[-1].append(term)
        else:
            found.append([term])
    return found


def mark_options(group: list[LexborNode]) -> bool:
    """Say of terms that share one description which options they are: the first one's heading names them all."""
    found = [name for term in group for name in options(line(term))]
    if not found:
        return False
    for term in group:
        term.attrs["data-kind"] = "option"
        term.attrs["data-name"] = ""
    group[0].attrs["data-name"] = "\n".join(dict.fromkeys(found))
    return True
