"""A page's bytes → text, in the order in which browsers decide (WHATWG HTML, "determining the character encoding")."""

import codecs
import re

import webencodings

_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_XML = re.compile(rb"^\s*<\?xml[^>]{0,200}encoding\s*=\s*[\"']([\w.:-]{1,40})")
# Browsers look at 1,024 bytes; pages with long comments before it mean it all the same.
_DECLARED_WITHIN = 4_096
# Python's codecs of these names know fewer characters than browsers.
_WIDER = {"euc-kr": "cp949", "shift_jis": "cp932", "big5": "big5hkscs"}


def decode(body: bytes, charset: str | None) -> str:
    """By byte-order mark, then the site's word, then the page's own, then UTF-8 if it is that, else Windows-1252.

    Labels are read as browsers read them: `iso-8859-1` is Windows-1252, `gb2312` is GBK.
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    for label, in_page in ((charset, False), (_label(_DECLARED, body), True), (_label(_XML, body), True)):
        encoding = webencodings.lookup(label) if label else None
        if encoding is not None:
            wide = in_page and encoding.name.startswith("utf-16")  # cannot be: the label was read as ASCII
            return body.decode("utf-8" if wide else _WIDER.get(encoding.name) or encoding.codec_info.name, "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _label(pattern: re.Pattern[bytes], body: bytes) -> str | None:
    found = pattern.search(_COMMENT.sub(b"", body[:_DECLARED_WITHIN]))
    return found[1].decode("ascii", "replace") if found else None
