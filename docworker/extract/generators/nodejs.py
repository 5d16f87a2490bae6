"""The manual of Node.js, whose pages are made by a tool of its own."""

import re

from selectolax.lexbor import LexborNode

from docworker.extract import names
from docworker.extract.profile import Profile
from docworker.extract.shape import line

_MODULE_KINDS = ("mjs", "cjs")
_ENVIRONMENT = re.compile(r"([A-Z][A-Z0-9_]+)=")
_DEPRECATION = re.compile(r"(DEP\d+):")
_CALL = re.compile(r"(?<=[\w\]])\((?:[^()]|\([^()]*\))*\)$")


def _shape(main: LexborNode) -> None:
    for former in main.css("a.legacy"):
        former.decompose()
    for heading in main.css("h2, h3, h4, h5, h6"):
        name, kind = _subject(heading)
        if name:
            heading.attrs["data-name"], heading.attrs["data-kind"] = name, kind
    for said in main.css(".api_metadata > span"):
        said.insert_after(" ")
    for both in main.css("pre:has(> code + code)"):
        for code in both.css("code"):
            classes = (code.attributes.get("class") or "").split()
            code.attrs["data-as"] = "pre"
            code.attrs["class"] = f"language-{next((kind for kind in _MODULE_KINDS if kind in classes), 'js')}"
        both.unwrap()


def _subject(heading: LexborNode) -> tuple[str, str]:
    """(names, kind) of what a heading is about where `names.heading_symbol` does not tell."""
    codes, text = [line(code) for code in heading.css("code")], line(heading)
    if names.is_option(text) and codes:
        return "\n".join(names.options(text)), "option"
    if match := _DEPRECATION.match(text):
        return "\n".join([match[1], *(_CALL.sub("", code) for code in codes)]), "deprecation"
    told = names.heading_symbol(text, codes[0] if codes else "")
    if len(codes) != 1 or (told is not None and not re.search("[=(]", told[0])):
        return "", ""
    if match := _ENVIRONMENT.match(text):
        return match[1], "envvar"
    label = text.removesuffix(codes[0]).strip()
    if label and not label.endswith(":"):
        return "", ""
    name = _CALL.sub("", codes[0])
    return name.removeprefix("new ").partition(" extends ")[0], "function" if name != codes[0] else "symbol"


PROFILE = Profile(
    name="nodejs",
    marks="#apicontent, meta[name='nodejs.org:node-version']",
    main=("#apicontent",),
    drop="#column2, #toc, .srclink, .js-flavor-toggle",
    shape=_shape,
)
