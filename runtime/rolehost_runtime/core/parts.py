"""A prompt as it is sent, taken apart again into what it was made of: for people who look at it. Pure.

It begins with the messages themselves, so that it shows what the model was shown, whoever put it there. Where a piece is
one of the texts that are known, it has their name; what is left has none but `added`, or `tool`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from rolehost_api.link.messages import Segment, TextSegment
from rolehost_runtime.core.prompt import Exchange, Told

PartKind = Literal["persona", "logic", "told", "history", "memory", "input", "answer", "steer", "tool", "added"]
JOINT = "\n\n"
"""Between the texts of one message."""
MAX_KNOWN = 256
"""Texts that are looked for within a message."""


class Part(NamedTuple):
    kind: PartKind
    speaker: str
    """`system`, `user`, `persona`, or what a vendor has beside them."""
    text: str
    message: int = 0
    """Number of the message that it is in."""


def known(
    segments: Iterable[Segment],
    persona: Sequence[str],
    past: Told | Sequence[Exchange],
    message: str,
    steers: Iterable[str] = (),
    reminder: str = "",
) -> dict[tuple[str, str], PartKind]:
    """What the texts of a prompt are, by speaker and text; the first meaning counts where two texts are alike."""
    found: dict[tuple[str, str], PartKind] = {}

    def is_kind(kind: PartKind, speaker: str, text: str) -> None:
        if text:
            found.setdefault((speaker, text), kind)

    for text in persona:
        is_kind("persona", "system", text)
    is_kind("memory", "user", reminder)
    is_kind("input", "user", message)
    for text in steers:
        is_kind("steer", "user", text)
    for segment in segments:
        if isinstance(segment, TextSegment):
            is_kind("logic", segment.speaker, segment.text)
    if isinstance(past, Told):
        for text in past.system:
            is_kind("told", "system", text)
    for exchange in past.past if isinstance(past, Told) else past:
        is_kind("history", "user", exchange.input)
        is_kind("history", "persona", exchange.reply)
    return found


def apart(messages: Iterable[tuple[str, str]], texts: Mapping[tuple[str, str], PartKind]) -> list[Part]:
    """The parts of these (speaker, text), in order: joined by JOINT within a message they are the messages again.

    >>> texts = known([TextSegment("system", "It rains.")], ["You are a cat."], [Exchange("Hi", "Meow")], "Well?")
    >>> said = [("system", "You are a cat.\\n\\n(noon)\\n\\nIt rains."), ("user", "Hi"), ("persona", "Meow"), ("user", "Well?")]
    >>> [(part.kind, part.text) for part in apart(said, texts)][:3]
    [('persona', 'You are a cat.'), ('added', '(noon)'), ('logic', 'It rains.')]
    >>> [part.kind for part in apart(said, texts)][3:]
    ['history', 'history', 'input']
    """
    found: list[Part] = []
    for number, (speaker, text) in enumerate(messages):
        whole = texts.get((speaker, text))
        if whole is not None:
            found.append(Part(whole, speaker, text, number))
        elif speaker == "persona" or speaker not in ("system", "user"):
            found.append(Part("answer" if speaker == "persona" else "tool", speaker, text, number))
        else:
            found += _split(speaker, text, number, texts)
    return found


def _split(speaker: str, text: str, number: int, texts: Mapping[tuple[str, str], PartKind]) -> list[Part]:
    """One message, where the known texts stand in it between joints; what is between them is `added`."""
    rest, found = text, list[Part]()
    candidates = [(one, kind) for (who, one), kind in texts.items() if who == speaker][:MAX_KNOWN]
    padded = f"{JOINT}{text}{JOINT}"
    here = sorted((one for one in candidates if f"{JOINT}{one[0]}{JOINT}" in padded), key=lambda one: -len(one[0]))
    added: list[str] = []

    def put(kind: PartKind, piece: str) -> None:
        if added:
            found.append(Part("added", speaker, JOINT.join(added), number))
            added.clear()
        found.append(Part(kind, speaker, piece, number))

    while True:
        at = next((one for one in here if rest == one[0] or rest.startswith(f"{one[0]}{JOINT}")), None)
        if at is not None:
            put(at[1], at[0])
            if len(rest) == len(at[0]):
                return found
            rest = rest[len(at[0]) + len(JOINT) :]
            continue
        piece, joint, after = rest.partition(JOINT)
        added.append(piece)
        if not joint:
            found.append(Part("added", speaker, JOINT.join(added), number))
            return found
        rest = after
