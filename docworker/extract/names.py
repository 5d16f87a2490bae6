"""What a signature, a term or a heading names, and what kind of thing that is. Pure."""

import re

_NAMES = re.compile(r"[\w.:$~@-]*[\w$]\s*$")
_OPTION = re.compile(r"(?<![\w-])(?:--?[A-Za-z0-9?][\w.?-]*|/[A-Za-z?]+(?=$|[\s,:=]))")
_OPTION_TERM = re.compile(r"^(?:-{1,2}[A-Za-z0-9?#@]|--$|-$)")
_KIND_WORDS = {
    "class", "event", "function", "method", "property", "module", "struct", "trait", "enum", "interface", "type", "constant",
    "macro", "union", "exception", "variable", "static method", "constructor", "attribute", "namespace", "signal", "object",
}  # fmt: skip
_KIND = re.compile(r"^(?P<kind>[A-Za-z]+(?: method)?)(?::\s*|\s+)(?P<rest>\S.*)$")
# A call, a qualified name, a name with an underscore, or one with a capital inside: no word of English is one of these.
_CALL = re.compile(r"^(?:new\s+)?(?P<name>[A-Za-z_$][\w$]*(?:(?:\.|::|#|->)[\w$~\[\].]+)*)\(.*\)$")
_QUALIFIED = re.compile(r"^[A-Za-z_$][\w$]*(?:(?:\.|::|#|->)[A-Za-z_$][\w$]*)+$|^\w*[a-z0-9]_\w+$|^[a-z]+[A-Z]\w*$")
_QUOTES = "'\"`‘’“”"
_SPACES = re.compile(r"\s+")


def is_option(term: str) -> bool:
    """Whether a term is a command-line option, as `-n, --dry-run`."""
    return bool(_OPTION_TERM.match(term))


def options(term: str) -> tuple[str, ...]:
    """The options that a term names: `-n <x>, --dry-run=<x>` → `-n`, `--dry-run`."""
    names = (match.group().rstrip(".") for part in term.split(",") if (match := _OPTION.match(part.strip())))
    return tuple(dict.fromkeys(names)) or (term.split()[0],)


def subject(signature: str) -> str:
    """What a signature is about: `awaitable asyncio.gather(*aws)` → `asyncio.gather`; without arguments, all of it."""
    before, parenthesis, _ = signature.partition("(")
    match = _NAMES.search(before) if parenthesis else None
    return match.group().strip() if match else signature


def qualified(name: str, anchor: str | None) -> str:
    """The longer name that the anchor tells: `pop_all` with the anchor `contextlib.ExitStack.pop_all`."""
    return anchor if anchor and name and anchor.endswith("." + name) else name


def heading_symbol(heading: str, code: str) -> tuple[str, str] | None:
    """(name, kind) when a heading is an API name, else None. `code` is what of it stands as code first.

    `fs.readFile(path[, options])` → fs.readFile, function; `Class: fs.Stats` → fs.Stats, class; `Event: 'close'`.
    """
    heading = re.sub(r"^\d+(?:\.\d+)*\.?\s+", "", heading)
    only_code = heading == code
    kind, rest = "", heading
    if (match := _KIND.match(heading)) and match["kind"].lower() in _KIND_WORDS:
        kind, rest = match["kind"].lower(), match["rest"].strip()
        if ":" not in heading[: len(match["kind"]) + 1] and not (only_code or _CALL.match(rest) or _QUALIFIED.match(rest)):
            return None  # "Class methods and inheritance"
    rest = rest.strip(_QUOTES + " ")
    if match := _CALL.match(rest):
        return match["name"], kind.replace("static method", "method") or "function"
    if kind and len(rest.split()) == 1:
        return rest, kind
    if _QUALIFIED.match(rest) or (only_code and len(rest.split()) == 1 and any(c.isalpha() for c in rest)):
        return rest, kind or "symbol"
    return None


def one_line(text: str) -> str:
    """A signature in one line, without the spaces that its layout left around brackets and commas."""
    line = _SPACES.sub(" ", text).strip()
    return re.sub(r"\s+([,)\]])", r"\1", re.sub(r"([(\[])\s+", r"\1", line))
