"""A card's example messages as a persona's examples, where they are an exchange after the other; and back."""

import re
from collections.abc import Sequence
from typing import Any

MAX_EXAMPLES, MAX_CHARS = 32, 4_096
_START = re.compile(r"(?i)<START>")
_SPEAKER = re.compile(r"(?im)^[ \t]*(?:(?P<user>\{\{user\}\}|<USER>)|(?P<char>\{\{char\}\}|<BOT>))[ \t]*:[ \t]*")

Example = dict[str, str]


def read(text: str) -> list[Example]:
    r"""The exchanges; none where it is anything but that: a text of its own, somebody who speaks twice, or too much.

    >>> read("<START>\n{{user}}: Storm?\n{{char}}: A breeze.\n<START>\n{{user}}: Fear?\n{{char}}: No.")
    [{'user': 'Storm?', 'persona': 'A breeze.'}, {'user': 'Fear?', 'persona': 'No.'}]
    >>> read("{{char}}: I never speak first.")
    []
    """
    found: list[Example] = []
    for block in _START.split(text.replace("\r\n", "\n")):
        if not block.strip():
            continue
        marks = list(_SPEAKER.finditer(block))
        if not marks or block[: marks[0].start()].strip() or len(marks) % 2:
            return []
        ends = [*(mark.start() for mark in marks[1:]), len(block)]
        said = [block[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
        for number in range(0, len(marks), 2):
            asks, answers = marks[number], marks[number + 1]
            if not (asks["user"] and answers["char"]):
                return []
            found.append({"user": said[number], "persona": said[number + 1]})
    if len(found) > MAX_EXAMPLES or any(not text or len(text) > MAX_CHARS for one in found for text in one.values()):
        return []
    return found


def written(examples: Sequence[dict[str, Any]]) -> str:
    r"""
    >>> written([{"user": "Storm?", "persona": "A breeze."}])
    '<START>\n{{user}}: Storm?\n{{char}}: A breeze.'
    """
    return "\n".join(f"<START>\n{{{{user}}}}: {one['user']}\n{{{{char}}}}: {one['persona']}" for one in examples)
