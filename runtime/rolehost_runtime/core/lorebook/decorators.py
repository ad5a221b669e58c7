"""`@@…` lines at the beginning of an entry's text, as cards of version 3 have them.

One that is not known here, or whose value is not good, is passed over, and the `@@@…` lines right behind it are
tried in its place, the first good one counting. Of two of a name the first counts.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from rolehost_api.crd.lorebook import (
    MAX_KEY_CHARS,
    MAX_KEYS,
    MAX_SCAN_DEPTH,
    TURNS,
    AfterMatch,
    LoreEntry,
    LoreLogic,
    LorePosition,
    LoreSpeaker,
)

MAX_LINES = 64
_LINE = re.compile(r"(@@@?)([a-z_]{1,64})(?:[ \t]+([^\n]*))?")

Changes = dict[str, Any]


class Decorated(NamedTuple):
    entry: LoreEntry
    """With what they say in its fields, and without them in its text."""
    always: bool
    """@@activate: told in any case."""
    unknown: tuple[str, ...]
    """Names that were passed over."""


def decorated(entry: LoreEntry) -> Decorated:
    """
    >>> entry = LoreEntry(id="a", keys=("cat",), content="@@depth 0\\n@@role assistant\\n@@their_own 3\\n@@@scan_depth 2\\n\\nBosun.")
    >>> found = decorated(entry)
    >>> found.entry.content, found.entry.position.value, found.entry.depth, found.entry.scan_depth, found.unknown
    ('Bosun.', 'AtDepth', 0, 2, ('their_own',))
    """
    if not entry.content.lstrip().startswith("@@"):
        return Decorated(entry, False, ())
    lines, text = _split(entry.content)
    said: dict[str, str] = {}
    unknown: list[str] = []
    waits = False
    """The one before was passed over, so that a fallback may take its place."""
    for fallback, name, value in lines:
        if fallback and not waits:
            continue
        good = _read(name, value) is not None
        if good:
            said.setdefault(name, value)
        elif name not in unknown:
            unknown.append(name)
        waits = not good
    changes: Changes = {"content": text}
    for name, value in said.items():
        if name == "depth" and "position" in said:
            continue
        if name == "dont_activate" and "activate" in said:
            continue
        read = _read(name, value)
        if read is not None:
            changes |= read(entry)
    return Decorated(replace(entry, **changes), "activate" in said, tuple(unknown))


def _split(content: str) -> tuple[list[tuple[bool, str, str]], str]:
    """The decorators, and the text behind them. Empty lines between them are of neither."""
    found: list[tuple[bool, str, str]] = []
    rest = content.replace("\r\n", "\n").lstrip()
    while rest.startswith("@@") and len(found) < MAX_LINES:
        line, _, after = rest.partition("\n")
        match = _LINE.fullmatch(line.rstrip())
        if match is not None:
            found.append((match[1] == "@@@", match[2], (match[3] or "").strip()))
        else:
            found.append((False, "", ""))
        rest = after.lstrip("\n")
    return found, rest.strip()


Apply = Callable[[LoreEntry], Changes]


def _number(field: str, most: int, least: int = 0, **more: Any) -> Callable[[str], Apply | None]:
    def read(value: str) -> Apply | None:
        if not re.fullmatch(r"-?\d{1,9}", value):
            return None
        number = max(least, min(most, int(value)))
        return lambda _: {field: number, **more}

    return read


def _fixed(**changes: Any) -> Callable[[str], Apply | None]:
    return lambda _: lambda _: changes


def _one_of(words: Mapping[str, Changes]) -> Callable[[str], Apply | None]:
    def read(value: str) -> Apply | None:
        changes = words.get(value.strip('"'))
        return None if changes is None else lambda _: changes

    return read


def _keys(value: str) -> tuple[str, ...]:
    return tuple(key[:MAX_KEY_CHARS] for part in value.split(",") if (key := part.strip()))[:MAX_KEYS]


def _additional(value: str) -> Apply | None:
    """One of them must be there too, and they take the place of the second keys: two demands cannot be said in one list.
    Beside keys that are patterns they are patterns, and one more way to be found."""
    keys = _keys(value)
    if not keys:
        return None
    return lambda entry: (
        {"keys": (*entry.keys, *keys)} if entry.regex else {"second_keys": keys, "logic": LoreLogic.AND_ANY}
    )


def _excluded(value: str) -> Apply | None:
    keys = _keys(value)
    return (lambda entry: {} if entry.regex else {"excluded_keys": (*entry.excluded_keys, *keys)}) if keys else None


_KNOWN: Mapping[str, Callable[[str], Apply | None]] = {
    "activate_only_after": _number("after_replies", TURNS),
    "activate_only_every": _number("every_replies", TURNS, 1),
    "keep_activate_after_match": _fixed(after_match=AfterMatch.ALWAYS),
    "dont_activate_after_match": _fixed(after_match=AfterMatch.NEVER),
    "depth": _number("depth", 1_000, position=LorePosition.AT_DEPTH),
    "role": _one_of(
        {
            "assistant": {"speaker": LoreSpeaker.PERSONA},
            "user": {"speaker": LoreSpeaker.USER},
            "system": {"speaker": LoreSpeaker.USER},
        }
    ),
    "scan_depth": _number("scan_depth", MAX_SCAN_DEPTH),
    "is_greeting": _number("greeting", 1_000),
    "position": _one_of(
        {
            "before_desc": {"position": LorePosition.BEFORE_PERSONA},
            "after_desc": {"position": LorePosition.AFTER_PERSONA},
        }
    ),
    "additional_keys": _additional,
    "exclude_keys": _excluded,
    "activate": _fixed(constant=True),
    "dont_activate": _fixed(enabled=False),
}


def _read(name: str, value: str) -> Apply | None:
    known = _KNOWN.get(name)
    return known(value) if known is not None else None
