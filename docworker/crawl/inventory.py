"""Sphinx's inventory of a site's names (`objects.inv`) → names with their pages. Pure.

The format is that of `sphinx.util.inventory`, version 2: four lines that begin with `#`, then, packed by zlib, a line for each
name: `asyncio.sleep py:function 1 library/asyncio-task.html#$ -`; `$` at the end stands for the name.
"""

import re
import zlib

from docworker.model import Symbol
from docworker.urls import canonical
from docworker.visible import visible, visible_line

MAX_INVENTORY_BYTES = 16 * 2**20
_MAX_UNPACKED_BYTES = 64 * 2**20
_MAX_NAMES = 200_000
_FIRST_LINE = b"# Sphinx inventory version 2"
_HEAD_LINES = 4
_LINE = re.compile(r"(?P<name>\S.*?)\s+(?P<domain>[^\s:]+):(?P<kind>\S+)\s+-?\d+\s+(?P<place>\S*)\s+\S.*")
# Labels and titles of pages and sections: no names of an API.
_NOT_NAMES = frozenset({"doc", "label"})
_KINDS = {"cmdoption": "option", "staticmethod": "method", "classmethod": "method", "member": "member"}


def read_inventory(body: bytes, url: str) -> list[tuple[str, Symbol]]:
    """The canonical URL of a page and a name that it explains, for each; nothing for what is no inventory.

    `url` is the inventory's own: pages stand relative to it.
    """
    lines = body.split(b"\n", _HEAD_LINES)
    if len(lines) <= _HEAD_LINES or not lines[0].startswith(_FIRST_LINE):
        return []
    try:
        unpacked = zlib.decompressobj().decompress(lines[_HEAD_LINES], _MAX_UNPACKED_BYTES)
    except zlib.error:
        return []
    found: list[tuple[str, Symbol]] = []
    for line in unpacked.decode("utf-8", "replace").splitlines()[:_MAX_NAMES]:
        match = _LINE.fullmatch(line)
        if match is None or match["kind"] in _NOT_NAMES:
            continue
        place, _, anchor = match["place"].partition("#")
        if anchor.endswith("$"):
            anchor = anchor[:-1] + match["name"]
        name, kind = visible_line(match["name"]), visible_line(_KINDS.get(match["kind"], match["kind"]))
        if name and visible(anchor) == anchor and (page := canonical(place, url)) is not None:
            found.append((page, Symbol(name, kind, anchor or None)))
    return found
