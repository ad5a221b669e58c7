"""What the model is shown: a pod's segments, filled in from what the gateway itself knows.

A pod names the persona by index, its session's past by a number of tokens, and the
message of the turn not at all; only volatile text of the logic's own comes over the link.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import HistorySegment, InputSegment, PersonaSegment, Segment, TextSegment

MAX_PROMPT_CHARS = 2_097_152
"""A pod may name the persona, the history and the input over and over; together they stop here."""
PER_MESSAGE = 4
"""Tokens that a model's chat template adds to each message, about."""

Speaker = Literal["system", "user", "persona"]


class Spoken(NamedTuple):
    """One message of the prompt."""

    speaker: Speaker
    text: str


class Exchange(NamedTuple):
    """One turn of the past, as the model is reminded of it."""

    input: str
    reply: str


class Told(NamedTuple):
    """A conversation as a client tells it, where no log knows one. It is the history, whole."""

    system: tuple[str, ...] = ()
    """What it wants the model told beside the persona: after the persona's and the logic's own, never above them."""
    past: tuple[Exchange, ...] = ()


class InvalidPrompt(BadRequest):
    """A pod asked for a prompt that cannot be built."""

    code = "invalid_prompt"


def estimate(text: str) -> int:
    """Tokens of `text`, about: four ASCII characters are one, any other character is one by itself.

    >>> estimate("a dragon"), estimate("从前有一条龙"), estimate("")
    (2, 6, 0)
    """
    plain = len(text.encode("ascii", "ignore"))
    return -(-plain // 4) + len(text) - plain


def newest(past: Sequence[Exchange], tokens: int) -> list[Exchange]:
    """The newest whole exchanges that fit into `tokens`, oldest first.

    >>> past = [Exchange("hi" * 8, "ho" * 8), Exchange("hi" * 8, "ho" * 8), Exchange("hi", "ho")]
    >>> len(newest(past, 26)), len(newest(past, 25)), len(newest(past, 0))     # 16, 16 and 10 tokens
    (2, 1, 0)
    """
    kept: list[Exchange] = []
    for exchange in reversed(past):
        tokens -= estimate(exchange.input) + estimate(exchange.reply) + 2 * PER_MESSAGE
        if tokens < 0:
            break
        kept.append(exchange)
    return kept[::-1]


def build(
    segments: Sequence[Segment],
    persona: Sequence[str],
    past: Sequence[Exchange] | Told,
    message: str,
    answer: str = "",
    steers: Sequence[tuple[int, str]] = (),
) -> tuple[Spoken, ...]:
    """The prompt: one system message (the persona first, then the logic's own), then what was said.

    Where the user spoke up in the answer, `answer` is how far it has come, and `steers` are the
    user's words, each with how many of its code points there were then.

    Neighbours of one speaker are joined, for many models' templates want strict
    alternation. What a client tells of the past comes where the logic asks for the history. Raises InvalidPrompt.

    >>> build([TextSegment("system", "It is raining."), PersonaSegment(0), InputSegment()], ["You are a cat."], [], "Hi")
    (Spoken(speaker='system', text='You are a cat.\\n\\nIt is raining.'), Spoken(speaker='user', text='Hi'))
    >>> build([InputSegment()], [], [], "A story!", "Once upon a", [(0, "A short one."), (11, "With dragons.")])
    (Spoken(speaker='user', text='A story!\\n\\nA short one.'), Spoken(speaker='persona', text='Once upon a'), \
Spoken(speaker='user', text='With dragons.'))
    """
    said: list[Spoken] = []
    room = MAX_PROMPT_CHARS
    if isinstance(past, Told) and any(isinstance(segment, HistorySegment) for segment in segments):
        segments = [*segments, *(TextSegment("system", text) for text in past.system)]
    for segment in sorted(segments, key=_order):
        for spoken in _spoken(segment, persona, past, message):
            room -= len(spoken.text)
            if room < 0:
                raise InvalidPrompt(f"a prompt is over {MAX_PROMPT_CHARS} characters", hint="Name each segment once")
            if spoken.text:
                said.append(spoken)
    return tuple(_joined([*said, *_since(answer, steers)]))


def _since(answer: str, steers: Sequence[tuple[int, str]]) -> list[Spoken]:
    """What was said since the question was asked, up to the user's last word."""
    found, before = [], 0
    for at, text in steers:
        if part := answer[before:at].strip():
            found.append(Spoken("persona", part))
        found.append(Spoken("user", text))
        before = at
    return found


def _order(segment: Segment) -> int:
    """Persona, then the logic's system text, then everything that was said, in the order given."""
    if isinstance(segment, PersonaSegment):
        return 0
    return 1 if isinstance(segment, TextSegment) and segment.speaker == "system" else 2


def _spoken(segment: Segment, persona: Sequence[str], past: Sequence[Exchange] | Told, message: str) -> list[Spoken]:
    match segment:
        case PersonaSegment(index=index):
            if index >= len(persona):
                raise InvalidPrompt("a prompt names a segment of the persona that there is not")
            return [Spoken("system", persona[index])]
        case TextSegment(speaker=speaker, text=text):
            return [Spoken(speaker, text)]
        case HistorySegment(last_tokens=tokens):
            found: list[Spoken] = []
            for exchange in past.past if isinstance(past, Told) else newest(past, tokens):
                found += (Spoken("user", exchange.input), Spoken("persona", exchange.reply))
            return found
        case InputSegment():
            return [Spoken("user", message)]


def _joined(said: Sequence[Spoken]) -> list[Spoken]:
    """Neighbours of one speaker as one message. Linear: the parts are joined once."""
    groups: list[tuple[Speaker, list[str]]] = []
    for spoken in said:
        if groups and groups[-1][0] == spoken.speaker:
            groups[-1][1].append(spoken.text)
        else:
            groups.append((spoken.speaker, [spoken.text]))
    return [Spoken(speaker, "\n\n".join(texts)) for speaker, texts in groups]
