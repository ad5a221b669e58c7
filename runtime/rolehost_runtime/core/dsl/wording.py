"""Names and texts of a tenant's in a language that is not theirs: Python identifiers and literals, mermaid labels."""

import keyword
import re
import unicodedata
from collections.abc import Iterable


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """A Python name for each of them, lower case, none twice and none of those that are taken.

    >>> identifiers(["Explain", "explain", "第 2 课", "class", "2nd", "-"])
    ['explain', 'explain_2', '第_2_课', 'class_', 'n2nd', 'n']
    """
    found: list[str] = []
    used = set(taken)
    for name in names:
        word = unicodedata.normalize("NFKC", re.sub(r"\W+", "_", name.lower())).strip("_")
        word = word if word.isidentifier() else f"n{re.sub(r'[^0-9a-z_]', '', word)}"
        word = f"{word}_" if keyword.iskeyword(word) else word
        base, number = word, 1
        while word in used:
            number += 1
            word = f"{base}_{number}"
        used.add(word)
        found.append(word)
    return found


def quoted(text: str) -> str:
    """A Python literal on one line of what can be printed; in double quotes where that takes no more escapes.

    >>> print(quoted("it's"), quoted('say "hi"'), quoted("a\\nb"))
    "it's" 'say "hi"' "a\\nb"
    """
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join(_escaped(char, quote) for char in text) + quote


def _escaped(char: str, quote: str) -> str:
    if char in ("\\", quote):
        return f"\\{char}"
    return char if char in "'\"" else repr(char)[1:-1]


def label(text: str, most: int = 48) -> str:
    """A label in a mermaid diagram: nothing in it means anything to mermaid.

    >>> label('a "b"; <c>\\nd')
    'a #34;b#34;#59; #60;c#62; d'
    """
    short = " ".join(text.split())
    short = short if len(short) <= most else f"{short[: most - 1]}…"
    return re.sub(r"[\"#;:<>{}\[\]|`\\%&]", lambda found: f"#{ord(found[0])};", short)
