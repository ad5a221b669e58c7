"""What the model is shown: a pod's segments, filled in from what the gateway itself knows.

A pod names the persona by index, its session's past by a number of tokens, and the
message of the turn not at all; only volatile text of the logic's own comes over the link.

The order is by how long a part stays as it is, so that what a model server has cached of
one prompt is the beginning of the next: the persona (as long as the revision), what was
said (it grows at its end), the turn's own system texts, the message. What is put between
the last messages, at a depth, belongs behind `_said` has laid them out, as pieces of the
turn: all from the deepest of them on is new in every turn, so a small depth is cheap.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Literal, NamedTuple

from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import HistorySegment, InputSegment, PersonaSegment, Segment, TextSegment

MAX_PROMPT_CHARS = 2_097_152
"""A pod may name the persona, the history and the input over and over; together they stop here."""
PER_MESSAGE = 4
"""Tokens that a model's chat template adds to each message, about."""

NO_MESSAGE = "(no message)"
"""In the user's place where the persona spoke of its own accord, so that whoever speaks still takes turns."""

Speaker = Literal["system", "user", "persona"]


class Volatility(IntEnum):
    """How long a piece of the prompt stays as it is, the longest first."""

    REVISION = 0
    """In every prompt of the revision."""
    SESSION = 1
    """In all later prompts of the session, until the history is cut."""
    TURN = 2


class Spoken(NamedTuple):
    """One message of the prompt."""

    speaker: Speaker
    text: str
    late: bool = False
    """Of the system, and not its opening words: what goes for this turn. Not every model takes it where it stands: then the
    gateway puts it elsewhere."""


class Piece(NamedTuple):
    volatility: Volatility
    spoken: Spoken


class Prompt(NamedTuple):
    spoken: tuple[Spoken, ...]
    steady: int
    """So many of the first messages are in the session's next prompt too, as they are, unless its history is cut then."""


class Exchange(NamedTuple):
    """One turn of the past, as the model is reminded of it."""

    input: str
    reply: str
    hidden: bool = False
    """A guard kept the input from the model: it is not told later either."""


class Insertion(NamedTuple):
    """A text among what was said."""

    depth: int
    """So many messages stand behind it; 0: none, it is the last word."""
    speaker: Speaker
    text: str


class Told(NamedTuple):
    """A conversation as a client tells it, where no log knows one. It is the history, whole."""

    system: tuple[str, ...] = ()
    """What it wants the model told beside the persona: after the persona's own, never above it."""
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


def newest(past: Sequence[Exchange], tokens: int, first: int = 1) -> Sequence[Exchange]:
    """The newest whole exchanges, oldest first: no more than `tokens`, and half of that at least where there is so much.

    `first` is the number of the first one's turn. A window that drops its oldest exchange in every turn would make every
    prompt differ near its beginning from the one before. This one moves in steps: of the turns where it may begin, it
    begins at the one whose number has most factors of two, and stays there until that is too long ago. It needs no
    memory for that, so it is the same on every gateway, whatever else of the past is held there.

    >>> past = [Exchange("hi" * 8, "ho" * 8), Exchange("hi" * 8, "ho" * 8), Exchange("hi", "ho")]
    >>> len(newest(past, 42)), len(newest(past, 26)), len(newest(past, 25)), len(newest(past, 0))  # of 16, 16 and 10 tokens
    (3, 2, 1, 0)
    >>> talk = [Exchange("hi" * 8, "ho" * 8)] * 100                       # where the window begins, of 16 exchanges
    >>> [turn - len(newest(talk[:turn], 256)) + 1 for turn in (15, 16, 17, 18, 23, 24, 25, 26, 31, 32, 33, 40)]
    [1, 1, 8, 8, 16, 16, 16, 16, 16, 24, 24, 32]
    """
    begin, least, held = len(past), len(past), 0
    for place in range(len(past) - 1, -1, -1):
        held += weight(past[place])
        if held > tokens:
            break
        begin = place
        if 2 * held < tokens:
            least = place
    if begin == 0 and first == 1:
        return past
    least = max(begin, min(least - 1, len(past) - 1))
    return past[max(range(begin, least + 1), key=lambda place: _twos(first + place), default=begin) :]


def weight(exchange: Exchange) -> int:
    """Tokens that it takes in a prompt, about.

    >>> weight(Exchange("hi" * 8, "ho" * 8))
    16
    """
    return 0 if exchange.hidden else estimate(exchange.input) + estimate(exchange.reply) + 2 * PER_MESSAGE


def _twos(number: int) -> int:
    """
    >>> [_twos(number) for number in (1, 2, 12, 16)]
    [1, 2, 4, 16]
    """
    return number & -number


def compose(
    segments: Sequence[Segment],
    persona: Sequence[str],
    past: Sequence[Exchange] | Told,
    message: str,
    answer: str = "",
    steers: Sequence[tuple[int, str]] = (),
    turn: int = 0,
    insertions: Sequence[Insertion] = (),
) -> Prompt:
    """The prompt of the session's `turn` (0: its past is whole): the opening words of the system, what was said, the
    turn's own system texts, and the message.

    Where the user spoke up in the answer, `answer` is how far it has come, and `steers` are the
    user's words, each with how many of its code points there were then.

    Neighbours of one speaker are joined, for many models' templates want strict
    alternation. What a client tells of the past comes where the logic asks for the history. Raises InvalidPrompt.

    >>> rain, cat = TextSegment("system", "It rains."), ["You are a cat."]
    >>> prompt = compose([PersonaSegment(0), rain, HistorySegment(), InputSegment()], cat, [Exchange("Hi", "Meow")], "Why?")
    >>> [f"{one.speaker}: {one.text}" for one in prompt.spoken], prompt.steady
    (['system: You are a cat.', 'user: Hi', 'persona: Meow', 'system: It rains.', 'user: Why?'], 3)
    """
    room = MAX_PROMPT_CHARS
    pieces: list[Piece] = []
    for piece in _laid_out(segments, persona, past, message, turn):
        room -= len(piece.spoken.text)
        if room < 0:
            raise InvalidPrompt(f"a prompt is over {MAX_PROMPT_CHARS} characters", hint="Name each segment once")
        if piece.spoken.text:
            pieces.append(piece)
    pieces += (Piece(Volatility.TURN, spoken) for spoken in _since(answer, steers))
    return _joined(inserted(pieces, insertions) if insertions else pieces)


def build(
    segments: Sequence[Segment],
    persona: Sequence[str],
    past: Sequence[Exchange] | Told,
    message: str,
    answer: str = "",
    steers: Sequence[tuple[int, str]] = (),
    turn: int = 0,
    insertions: Sequence[Insertion] = (),
) -> tuple[Spoken, ...]:
    """The messages of `compose`.

    >>> build([InputSegment()], [], [], "A story!", "Once upon a", [(0, "A short one."), (11, "With dragons.")])
    (Spoken(speaker='user', text='A story!\\n\\nA short one.', late=False), \
Spoken(speaker='persona', text='Once upon a', late=False), Spoken(speaker='user', text='With dragons.', late=False))
    """
    return compose(segments, persona, past, message, answer, steers, turn, insertions).spoken


def stable_chars(segments: Sequence[Segment], persona: Sequence[str]) -> int:
    """So many characters of the prompt's system message are the persona's: the same in every call of the revision.

    >>> stable_chars([TextSegment("system", "It rains."), PersonaSegment(0), PersonaSegment(1)], ["You are", "a cat."])
    15
    """
    texts = [persona[one.index] for one in segments if isinstance(one, PersonaSegment) and one.index < len(persona)]
    return len("\n\n".join(filter(None, texts)))


def inserted(pieces: Sequence[Piece], insertions: Sequence[Insertion]) -> list[Piece]:
    """Each text before the last so many messages of the conversation; one that is too deep before the first of them. The
    last word is never the persona's own, for then nobody has asked it anything.

    >>> said = [Spoken("system", "A cat."), Spoken("user", "Hi"), Spoken("persona", "Meow"), Spoken("user", "Well?")]
    >>> pieces = [Piece(Volatility.TURN, one) for one in said]
    >>> [one.text for _, one in inserted(pieces, [Insertion(1, "user", "(it rains)"), Insertion(9, "user", "(noon)")])]
    ['A cat.', '(noon)', 'Hi', 'Meow', '(it rains)', 'Well?']
    """
    said = [place for place, piece in enumerate(pieces) if piece.spoken.speaker != "system"]
    at: dict[int, list[Piece]] = {}
    for depth, speaker, text in insertions:
        behind = min(max(depth, 1) if speaker == "persona" else depth, len(said))
        place = said[len(said) - behind] if behind else len(pieces)
        at.setdefault(place, []).append(Piece(Volatility.TURN, Spoken(speaker, text)))
    found: list[Piece] = []
    for place in range(len(pieces) + 1):
        found += [*at.get(place, ()), *pieces[place : place + 1]]
    return found


def _since(answer: str, steers: Sequence[tuple[int, str]]) -> list[Spoken]:
    """What was said since the question was asked, up to the user's last word."""
    found, before = [], 0
    for at, text in steers:
        if part := answer[before:at].strip():
            found.append(Spoken("persona", part))
        found.append(Spoken("user", text))
        before = at
    return found


def _laid_out(
    segments: Sequence[Segment], persona: Sequence[str], past: Sequence[Exchange] | Told, message: str, turn: int
) -> Iterator[Piece]:
    """The persona before all else, wherever the pod named it; the turn's system texts behind the history, not above it."""
    late: list[Segment] = []
    rest: list[Segment] = []
    for segment in segments:
        if isinstance(segment, PersonaSegment):
            if segment.index >= len(persona):
                raise InvalidPrompt("a prompt names a segment of the persona that there is not")
            yield Piece(Volatility.REVISION, Spoken("system", persona[segment.index]))
        else:
            (late if isinstance(segment, TextSegment) and segment.speaker == "system" else rest).append(segment)
    place = max((at + 1 for at, one in enumerate(rest) if isinstance(one, HistorySegment)), default=0)
    if place and isinstance(past, Told):
        yield from (Piece(Volatility.SESSION, Spoken("system", text)) for text in past.system)
    for segment in (*rest[:place], *late, *rest[place:]):
        yield from _said(segment, past, message, turn)


def _said(segment: Segment, past: Sequence[Exchange] | Told, message: str, turn: int) -> Iterator[Piece]:
    match segment:
        case TextSegment(speaker=speaker, text=text):
            yield Piece(Volatility.TURN, Spoken(speaker, text, late=speaker == "system"))
        case InputSegment():
            yield Piece(Volatility.TURN, Spoken("user", message))
        case HistorySegment(last_tokens=tokens):
            told = isinstance(past, Told)
            kept = past.past if isinstance(past, Told) else newest(past, tokens, max(1, turn - len(past)))
            for exchange in kept:
                if exchange.hidden:
                    continue
                asked = exchange.input or (NO_MESSAGE if exchange.reply and not told else "")
                yield Piece(Volatility.SESSION, Spoken("user", asked))
                yield Piece(Volatility.SESSION, Spoken("persona", exchange.reply))


def _joined(pieces: Sequence[Piece]) -> Prompt:
    """Neighbours of one speaker as one message. Linear: the parts are joined once."""
    groups: list[tuple[Speaker, bool, list[str]]] = []
    steady, is_steady = 0, True
    for volatility, (speaker, text, late) in pieces:
        if groups and groups[-1][:2] == (speaker, late):
            groups[-1][2].append(text)
        else:
            steady += is_steady and bool(groups)
            groups.append((speaker, late, [text]))
        is_steady = is_steady and volatility < Volatility.TURN
    steady += is_steady and bool(groups)
    return Prompt(tuple(Spoken(speaker, "\n\n".join(texts), late) for speaker, late, texts in groups), steady)
