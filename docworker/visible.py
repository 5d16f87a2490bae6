"""What of a text a reader sees. Pure.

Text from a site is handed to assistants, which read every character, also those that no screen shows. With them a page can say
what nobody who looks at it can read (tag characters, runs of variation selectors), show code in another order than it has (bidi
controls, CVE-2021-42574), or part a word so that it is not found (zero-width characters). `visible` removes them:

- controls other than tab and line feed; CR, VT, FF, NEL and the separators of lines and paragraphs become line feeds,
- bidi controls, zero-width and other default-ignorable characters (Unicode 15.1, DerivedCoreProperties), noncharacters,
  lone surrogates,
- joiners and variation selectors where they change nothing that is seen.

Joiners stay between letters of the scripts that need them and in emoji; one variation selector stays behind what has variants;
the flags of England, Scotland and Wales are the only tag sequences. Characters for private use stay: they are seen, as the
icons of a font or as boxes.
"""

import re

_NEVER = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
)
_NEVER_ABOVE = (
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
    + "".join(chr(plane + last) for plane in range(0x10000, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
)
_AT_PLACES = "\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f\U000e0100-\U000e01ef"
_BREAKS = "\x0b\x0c\r\x85\u2028\u2029"

# Scripts whose letters join, or have vowels and conjuncts that joiners tell apart.
_JOINING = (
    "\u0600-\u08ff"  # Arabic, Syriac, Thaana, N'Ko, Mandaic
    "\u0900-\u0dff"  # Devanagari to Sinhala
    "\u0f00-\u109f\u1780-\u18af"  # Tibetan, Myanmar, Khmer, Mongolian
    "\ua840-\ua8ff\ua980-\ua9ff\uaa60-\uaa7f\uabc0-\uabff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f"
)
_ARABIC = "\u0600-\u08ff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc"
_VIRAMA = (
    "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d3b\u0d3c\u0d4d\u0dca\u1039\u103a\u17d2\ua8c4\ua953\ua9c0\uaaf6\uabed"
)
# What emoji-variation-sequences.txt lists, by its ranges; digits, # and * only before the sign of a key.
_SYMBOL = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_JOINED_SYMBOL = "\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_VARIED = "[\U0001f3fb-\U0001f3ff]?[\ufe0e\ufe0f]?"
_FLAGS = "|".join("".join(chr(0xE0000 + ord(letter)) for letter in name) for name in ("gbeng", "gbsct", "gbwls"))
_PUNCTUATION = "\u3001\u3002\uff01\uff0c\uff0e\uff1a\uff1b\uff1f"
_IDEOGRAPH = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_MEANT = (
    rf"\U0001f3f4(?:{_FLAGS})\U000e007f"
    rf"|[{_SYMBOL}]{_VARIED}(?:\u200d[{_JOINED_SYMBOL}]{_VARIED})*"
    rf"|[0-9#*]\ufe0f\u20e3"
    rf"|[\u2200-\u22ff\u2a00-\u2aff]\ufe00|[{_PUNCTUATION}][\ufe00\ufe01]"
    rf"|[{_IDEOGRAPH}][\ufe00-\ufe02\U000e0100-\U000e011f]"  # the Ideographic Variation Database has at most 32 of one
    rf"|(?<=[{_JOINING}])[\u200c\u200d](?=[{_JOINING}])|(?<=[{_VIRAMA}])[\u200c\u200d]|(?<=[{_ARABIC}])\u200d"
    rf"|(?<=[{_JOINING}])\u200c(?=[^\W_])|(?<=[^\W_])\u200c(?=[{_JOINING}])"  # as in "API‌ها"
)

# All above the BMP, so that the class is one table: 3 ns a character instead of 50.
_SUSPECT = re.compile(f"[{_NEVER}\u200c\u200d\ufe00-\ufe0f{_BREAKS}\U00010000-\U0010ffff]")
_REMOVED = re.compile(f"[{_NEVER}{_NEVER_ABOVE}]+")
_BREAK = re.compile(f"\r\n|[{_BREAKS}]")
_PLACED = re.compile(f"({_MEANT})|[{_AT_PLACES}]")


def is_suspect(text: str) -> bool:
    """Whether a text may hold what nobody sees; quick, and so for a whole page."""
    return _SUSPECT.search(text) is not None


def visible(text: str) -> str:
    """`text` without the characters that nobody sees; the same when it has none. What is visible already stays as it is."""
    if not is_suspect(text):
        return text
    text = _BREAK.sub("\n", _REMOVED.sub("", text))
    return _PLACED.sub(lambda match: match[1] or "", text)


def visible_line(text: str) -> str:
    """What a reader sees of a text that stands in one line, such as a title."""
    seen = visible(text)
    return text if seen == text else " ".join(seen.split())
