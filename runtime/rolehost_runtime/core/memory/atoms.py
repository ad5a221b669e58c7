"""Atoms: one memory each, and how the store keeps those of one person.

A partition is a set of facts about atoms: that one was added, that it was confirmed, that it was forgotten. Facts are
only ever added, and each is named by its atom, so they come to the same in whatever order they arrive and however
often. What follows from them is worked out when it is read (`partition`).
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from rolehost_api.errors import BadRequest, RolehostError
from rolehost_api.link.messages import MAX_ATOM_CHARS, AtomKind, Remember

MAX_ATOMS = 1000
"""Of one person with one Role; what goes first is said in `tidying`."""
MAX_BYTES = 262_144
"""As they are stored, all together."""
ROOM = 2
"""What is stored may be so many times as much for a moment: a turn does not fail because memory is to be tidied."""
MOST_FIELDS, MOST_BYTES = ROOM * MAX_ATOMS, ROOM * MAX_BYTES
"""Past which nothing is added before it was tidied."""
GONE_MS = 86_400_000
"""How long a forgotten atom's name is remembered: as long as a store that went back in time may be written again."""

Stored = Mapping[bytes, bytes]
"""As the store's hash has it: `@` version, `!` mark of what made it, `#` bytes of the atoms; `a<id>`: an atom; `c<id>`:
when it was confirmed; `x<id>`: when it was forgotten."""


class InvalidMemory(BadRequest):
    """Something was to be remembered that cannot be."""

    code = "invalid_memory"


class Atom(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One memory. All but what it says is the gateway's own knowledge."""

    id: str
    kind: AtomKind = "long"
    text: str = ""
    subject: str = ""
    predicate: str = ""
    object: str = ""
    many: bool = False
    salience: Annotated[int, Meta(ge=0, le=100)] = 50
    at_ms: int
    """When it became known: when the turn that remembered it was durable."""
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    """When a relation holds in the world, as far as it was said: None is at_ms, and without an end."""
    session_id: str = ""
    """The client's word for the session that it comes from."""
    turn: int = 0
    revision: str = ""
    asserted: bool = False
    """The user said so; not to be taken for true before it is confirmed."""

    @property
    def said(self) -> str:
        """
        >>> Atom(id="a", kind="rel", subject="用户", predicate="怕", object="蜘蛛", at_ms=0).said
        '用户 → 怕 → 蜘蛛'
        """
        return self.text if self.kind == "long" else f"{self.subject} → {self.predicate} → {self.object}"

    @property
    def since_ms(self) -> int:
        return self.at_ms if self.valid_from_ms is None else self.valid_from_ms


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Atom).decode


@dataclass(frozen=True, slots=True)
class Source:
    """Which turn remembers something."""

    log_id: str
    session_id: str
    turn: int
    revision: str
    at_ms: int


def atom_id(log_id: str, turn: int, index: int) -> str:
    """The name of what a turn remembers as its number `index`: always the same, and no other turn's of any log.

    >>> atom_id("log", 3, 0) == atom_id("log", 3, 0), len({atom_id("log", 3, n) for n in range(9)}), len(atom_id("", 1, 0))
    (True, 9, 16)
    """
    digest = hashlib.blake2b(_encode([log_id, turn, index]), digest_size=10).digest()
    return base64.b32encode(digest).decode().lower()


def made(remembered: Sequence[Remember], source: Source) -> tuple[Atom, ...]:
    """The atoms of what a turn remembers. Raises InvalidMemory."""
    return tuple(_made(one, atom_id(source.log_id, source.turn, index), source) for index, one in enumerate(remembered))


def _made(one: Remember, name: str, source: Source) -> Atom:
    terms = (one.subject, one.predicate, one.object)
    if one.kind == "long" and (not one.text.strip() or any(terms)):
        raise InvalidMemory("a memory of kind long is a text, and no relation", hint='t.memory.remember("…")')
    if one.kind == "rel" and (one.text or not all(term.strip() for term in terms)):
        raise InvalidMemory(
            "a memory of kind rel is a subject, a predicate and an object",
            hint='t.memory.remember(("Ann", "fears", "spiders"))',
        )
    if one.kind == "rel" and one.valid_to_ms is not None and one.valid_to_ms <= (one.valid_from_ms or 0):
        raise InvalidMemory("a relation must end after it begins")
    if one.kind == "long" and (one.many or one.valid_from_ms is not None or one.valid_to_ms is not None):
        raise InvalidMemory("only a relation holds from one time to another")
    return Atom(
        id=name,
        kind=one.kind,
        text=one.text,
        subject=one.subject,
        predicate=one.predicate,
        object=one.object,
        many=one.many,
        salience=one.salience,
        at_ms=source.at_ms,
        valid_from_ms=one.valid_from_ms,
        valid_to_ms=one.valid_to_ms,
        session_id=source.session_id,
        turn=source.turn,
        revision=source.revision,
        asserted=one.asserted,
    )


def edited(atom: Atom, text: str, at_ms: int, *, asserted: bool) -> Atom:
    """What takes the place of a text that somebody corrected; it comes from the same turn. Raises InvalidMemory.

    >>> tea = Atom(id="a", text="likes tea", at_ms=1, session_id="s", turn=3, salience=90)
    >>> mate = edited(tea, "likes mate", 9, asserted=True)
    >>> mate.text, mate.turn, mate.asserted, mate.id == edited(tea, "likes mate", 10, asserted=True).id
    ('likes mate', 3, True, True)
    """
    if atom.kind != "long":
        raise InvalidMemory("only a text can be edited", hint="Forget the relation, and say what holds")
    if not text.strip() or len(text) > MAX_ATOM_CHARS:
        raise InvalidMemory(f"a memory is a text of 1 to {MAX_ATOM_CHARS} characters")
    name = atom_id(f"{atom.id}\n{text}", atom.turn, 0)
    return msgspec.structs.replace(atom, id=name, text=text, at_ms=at_ms, asserted=asserted)


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of a partition in one step."""

    added: tuple[Atom, ...] = ()
    forgotten: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    at_ms: int = 0
    dropped: tuple[str, ...] = ()
    """Taken out without a trace: there was too much."""
    traces: tuple[str, ...] = ()
    """Of these nobody has to remember any more that they were forgotten."""
    moved: tuple[tuple[str, bytes], ...] = ()
    """Taken out, for another place has them: each with what was known of its confirmation (empty: nothing). One that was
    confirmed since then stays."""

    def __bool__(self) -> bool:
        return bool(self.added or self.forgotten or self.confirmed or self.dropped or self.traces or self.moved)

    def facts(self) -> list[tuple[str, str, bytes]]:
        """As the store takes them: (a, c, x, d, t or m; the atom's id; what is kept of it)."""
        moment = b"%d" % self.at_ms
        return [
            *(("a", atom.id, _encode(atom)) for atom in self.added),
            *(("c", name, moment) for name in self.confirmed),
            *(("x", name, moment) for name in self.forgotten),
            *(("d", name, b"") for name in self.dropped),
            *(("t", name, b"") for name in self.traces),
            *(("m", name, known) for name, known in self.moved),
        ]


class MemoryFull(RolehostError):
    """The partition must be tidied before anything is added to it."""

    code = "memory_full"
    status = 507


def kept(stored: Stored, changes: Changes, mark: str) -> Stored:
    """`stored` with these changes; what made them is called `mark`. The store's script does the same.

    Raises MemoryFull where it would grow past ROOM times its bounds; nothing is changed then.
    """
    after = dict(stored)
    size = before = int(stored.get(b"#", b"0"))
    for kind, name, what in changes.facts():
        atom, confirmed, gone = (letter + name.encode() for letter in (b"a", b"c", b"x"))
        if kind in "xd":
            size -= len(after.pop(atom, b""))
            after.pop(confirmed, None)
            if kind == "x":
                after.setdefault(gone, what)
        elif kind == "t":
            after.pop(gone, None)
        elif kind == "m" and after.get(confirmed, b"") == what:
            size -= len(after.pop(atom, b""))
            after.pop(confirmed, None)
        elif kind == "c" and atom in after:
            after.setdefault(confirmed, what)
        elif kind == "a" and gone not in after and atom not in after:
            after[atom] = what
            size += len(what)
    after |= {b"@": b"%d" % (version_of(stored) + 1), b"!": mark.encode(), b"#": b"%d" % size}
    if (len(after) > MOST_FIELDS and len(after) > len(stored)) or (size > MOST_BYTES and size > before):
        raise MemoryFull("more is remembered than there is room for")
    return after


def version_of(stored: Stored) -> int:
    """0 where nothing was ever kept."""
    return int(stored.get(b"@", b"0"))


def mark_of(stored: Stored) -> str:
    """Two copies of one version with the same mark are the same."""
    return stored.get(b"!", b"").decode()


def atoms_of(stored: Stored) -> list[Atom]:
    """What is there. One that cannot be read is left out: it is a help, and no part of the log."""
    found = []
    for name, body in stored.items():
        if name[:1] == b"a":
            try:
                found.append(_decode(body))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
    return found


def marked(stored: Stored, letter: bytes) -> dict[str, int]:
    """Ids of atoms with such a fact about them, and its time."""
    return {name[1:].decode(): int(what) for name, what in stored.items() if name[:1] == letter}
