"""`{{…}}` of a card's texts: those that always mean the same are filled in, and the others are said.

A persona's text is the same for everybody, so that providers can cache it: what differs
by person or by turn cannot be in it.
"""

import re
from typing import NamedTuple

_MACRO = re.compile(r"\{\{([^{}]{0,2000})\}\}")
_OLD = {"<BOT>": "{{char}}", "<bot>": "{{char}}", "<USER>": "{{user}}", "<user>": "{{user}}"}
SOMEBODY = "the user"


class Filled(NamedTuple):
    text: str
    left: tuple[str, ...]
    """Macros that are still there, as they were written, each once."""


def fill(text: str, char: str, original: str = "") -> Filled:
    """`text` with its macros filled in; `original` is what `{{original}}` stands for.

    >>> fill("{{char}} smiles at {{user}}.{{// shyly }}", "Mira").text
    'Mira smiles at the user.'
    >>> fill("{{user}}: Hello!", "Mira").text
    'The user: Hello!'
    >>> fill("A {{random:red,blue}} hat, {{roll:d6}} feathers", "Mira")
    Filled(text='A red hat, {{roll:d6}} feathers', left=('{{roll:d6}}',))
    """
    for old, new in _OLD.items():
        text = text.replace(old, new)
    left: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        value = _value(found[1].strip(), char, original)
        if value is None:
            if found[0] not in left:
                left.append(found[0])
            return found[0]
        return value.capitalize() if value == SOMEBODY and _begins(text, found.start()) else value

    return Filled(_MACRO.sub(replaced, text), tuple(left))


def _begins(text: str, at: int) -> bool:
    """Whether a sentence begins there."""
    before = text[max(0, at - 8) : at].rstrip(" *\"'")
    return before[-1:] in (*".!?\n", "")


def _value(macro: str, char: str, original: str) -> str | None:
    """What a macro stands for; None where that differs from time to time."""
    name, colon, argument = macro.partition(":")
    match name.strip().lower():
        case "char" if not colon:
            return char
        case "user" if not colon:
            return SOMEBODY
        case "original" if not colon:
            return original
        case "random" | "pick" if colon:
            return re.split(r"(?<!\\),", argument)[0].replace("\\,", ",").strip()
        case "reverse" if colon:
            return argument.strip()[::-1]
        case "comment" | "hidden_key" if colon:
            return ""
        case _:
            return "" if macro.startswith("//") else None
