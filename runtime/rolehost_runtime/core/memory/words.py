"""Text to tokens, in any script.

Words of scripts that put blanks between them are words, without accents and without the plural's s. Scripts that put
none are cut into single characters and pairs of neighbours, so that a question finds what it is a part of.
"""

import re
import unicodedata
from functools import lru_cache

MAX_TOKENS = 2048
"""Of one text; a memory has 2,000 characters at most."""
MAX_WORD = 64
_LATIN_MARKS = re.compile("[\u0300-\u036f]")
_ASCII = re.compile(r"[a-z0-9]+")
_TOGETHER = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def tokens(text: str) -> list[str]:
    """
    >>> tokens("Two dragons, at the Café!")
    ['two', 'dragon', 'at', 'the', 'cafe']
    >>> tokens("有一条龙")
    ['有', '有一', '一', '一条', '条', '条龙', '龙']
    >>> tokens("Вася ест 3 ёлки"), tokens("हिन्दी में"), tokens("한국어")
    (['вася', 'ест', '3', 'елки'], ['हिन्दी', 'में'], ['한국어'])
    >>> tokens("GPT4の龍"), tokens("… — !")
    (['gpt4', 'の', 'の龍', '龍'], [])
    """
    if text.isascii():
        return [_stem(word[:MAX_WORD]) for word in _ASCII.findall(text.lower())[:MAX_TOKENS]]
    folded = unicodedata.normalize("NFKD", text.casefold())
    plain = unicodedata.normalize("NFKC", _LATIN_MARKS.sub("", folded))
    found: list[str] = []
    word, before = "", ""
    for character in f"{plain} ":
        kind = _kind(character)
        if kind != "word" and word:
            found.append(_stem(word[:MAX_WORD]))
            word = ""
        if kind == "word":
            word += character
        elif kind == "together":
            if before:
                found.append(before + character)
            found.append(character)
        before = character if kind == "together" else ""
    return found[:MAX_TOKENS]


@lru_cache(maxsize=8192)
def _kind(character: str) -> str:
    if any(first <= ord(character) <= last for first, last in _TOGETHER):
        return "together" if unicodedata.category(character)[0] in "LM" else ""
    return "word" if unicodedata.category(character)[0] in "LMN" else ""


def _stem(word: str) -> str:
    """
    >>> [_stem(word) for word in ("dragons", "stories", "glass", "is", "bus", "его")]
    ['dragon', 'story', 'glass', 'is', 'bus', 'его']
    """
    if not word.isascii() or len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return f"{word[:-3]}y" if word.endswith("ies") and len(word) > 4 else word[:-1]
