"""One form of what looks the same: case, width, invisible characters, kinds of apostrophes, blanks and dashes.

By each character alone, so that it does not matter where a stream cuts a text. That is NFKC with full case folding, as
far as comparing goes: both sides are taken apart the same way.
"""

import unicodedata

MAX_KNOWN = 8192
"""Characters whose form is remembered."""
_APOSTROPHES = frozenset("\u2019\u2018\u02bc\u02b9\uff07\u0060\u00b4")
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_SPACELESS = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3),
    (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Thai, Lao, Burmese, Khmer, kana, Han; and Hangul, whose words carry their endings."""


class Folds(dict[str, str]):
    """Character → its form: none, one or several characters.

    >>> folds = Folds()
    >>> [folds[char] for char in "Aß\u200b\ufb01７é\u00a0’—龙"]
    ['a', 'ss', '', 'fi', '7', 'e\u0301', ' ', "'", '-', '龙']
    """

    def __missing__(self, char: str) -> str:
        folded = _fold(char)
        if len(self) < MAX_KNOWN:
            self[char] = folded
        return folded


FOLDS = Folds()


def _fold(char: str) -> str:
    if char.isspace():
        return " "
    if char in _APOSTROPHES:
        return "'"
    kind = unicodedata.category(char)
    if (
        kind in ("Cf", "Cc")
        or char in _INVISIBLE
        or "\ufe00" <= char <= "\ufe0f"
        or "\U000e0100" <= char <= "\U000e01ef"
    ):
        return ""
    if kind == "Pd":
        return "-"
    if kind == "Nd":
        return str(unicodedata.decimal(char))
    if "\uac00" <= char <= "\ud7a3":  # taken apart, its first letters would be found in other syllables
        return char
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    return "".join("'" if one in _APOSTROPHES else one for one in apart)


def is_mark(char: str) -> bool:
    """Whether it belongs to the character before it."""
    return char > "\u02ff" and unicodedata.category(char)[0] == "M"


def is_spaced(char: str) -> bool:
    """Whether it is part of a word that others are set off from.

    >>> [is_spaced(char) for char in "a7ж-龙か"]
    [True, True, True, False, False, False]
    """
    if char.isascii():
        return char.isalnum()
    point = ord(char)
    if any(low <= point <= high for low, high in _SPACELESS):
        return False
    return char.isalnum() or is_mark(char)
