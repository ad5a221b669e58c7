"""State that one person's sessions share: which changes there are, and how they merge. Sans-IO.

A turn reads the state at some version, its base, and sends changes, field by field, never the
whole. Where it is kept they meet what other sessions of that person changed meanwhile:

  last      the newest commit wins; what it overrides unseen is kept as a compensation
  Counter   differences add up
  Set       an element that was added stays, unless who removes it had seen it being added

So counters and sets come out the same in whatever order turns commit. The store's script does
the same as `merge`, over the same bytes: tests hold both to one table of cases.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from rolehost_api.link.messages import MAX_PATCH_OPERATIONS, PatchOp
from rolehost_runtime.core.patch import InvalidPatch, StateTooLarge, check_value, escape, same, tokens_of

ALONE = "@user"
"""The member of a session's state that holds its user-scope state while no end user is named: nobody shares it then."""
MAX_COUNT = 2**53 - 1
"""Of a Counter, either way: what every reader of JSON, and the store's script, can hold exactly."""
MAX_FIELD = 128
OFFSETS = 2**32
"""Versions that follow one snapshot. A version is snapshot * OFFSETS + offset, so it grows with either."""
ROOM = 2
"""What is stored may take so many times the bytes that the state itself may: elements carry when they were added."""

Stored = Mapping[bytes, bytes]
"""As the store's hash has it: `@` version, `!` mark of what made it, `#` bytes of the rest; `.<field>`:
`<version> <kind><value>`; `+<field>/<element>`: `<version>`."""
View = dict[str, Any]
"""As logic and clients see it: JSON; a Set is an object of its elements, each true."""
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class Kind(Enum):
    """What one change does."""

    PUT = "put"
    DROP = "drop"
    ADD = "add"
    """To a Counter."""
    JOIN = "join"
    LEAVE = "leave"


class CounterTooLarge(InvalidPatch):
    """A Counter would leave what can be counted exactly."""

    code = "counter_too_large"


@dataclass(frozen=True, slots=True)
class Change:
    kind: Kind
    field: str
    what: bytes = b""
    """PUT: the value as msgpack; ADD: the difference in digits; JOIN and LEAVE: the element."""


@dataclass(frozen=True, slots=True)
class Overridden:
    """A value that a turn overrode without having seen it: the compensation that is kept of it."""

    field: str
    written: int
    """The version that wrote it."""
    value: bytes
    """As msgpack; of a Set its elements in order."""


@dataclass(frozen=True, slots=True)
class Merged:
    stored: Stored
    version: int
    overridden: tuple[Overridden, ...] = ()


# ── versions ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A version taken apart: a snapshot, and how many changes came after it.

    >>> Place.of(42 * OFFSETS + 187), Place(42, 187) > Place(41, 923), Place(0, 7).version
    (Place(snapshot=42, offset=187), True, 7)
    """

    snapshot: int
    offset: int

    @classmethod
    def of(cls, version: int) -> "Place":
        return cls(*divmod(version, OFFSETS))

    @property
    def version(self) -> int:
        return self.snapshot * OFFSETS + self.offset


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What leads from one place to a newer one."""

    snapshot: int | None
    """Take this snapshot first; None: go on from what is there."""
    after: int
    upto: int
    """Then the changes with offsets in (after, upto]."""


def catch_up(one: Place, other: Place) -> CatchUp:
    """What the older of two copies needs to become the newer: the higher snapshot wins, whatever followed the other.

    >>> catch_up(Place(42, 187), Place(41, 923))
    CatchUp(snapshot=42, after=0, upto=187)
    >>> catch_up(Place(42, 180), Place(42, 187)), catch_up(Place(42, 187), Place(42, 187))
    (CatchUp(snapshot=None, after=180, upto=187), CatchUp(snapshot=None, after=187, upto=187))
    """
    older, newer = sorted((one, other))
    if older.snapshot == newer.snapshot:
        return CatchUp(None, older.offset, newer.offset)
    return CatchUp(newer.snapshot, 0, newer.offset)


def next_version(version: int, base: int) -> int:
    """The version after `version`, for a turn that read `base`.

    A base from the future means that the store forgot what it had acknowledged: a new snapshot begins, above all
    that was ever told, so that no copy of what is lost is taken for what is there.

    >>> next_version(7, 7), next_version(7, 5)
    (8, 8)
    >>> Place.of(next_version(Place(41, 923).version, Place(41, 940).version))
    Place(snapshot=42, offset=1)
    """
    if base > version:
        return Place(Place.of(base).snapshot + 1, 1).version
    return version + 1


# ── changes ─────────────────────────────────────────────────────────────────────────


def changes_of(patch: Sequence[PatchOp]) -> tuple[Change, ...]:
    """The changes that a patch of user-scope state says. Raises InvalidPatch for whatever else it says.

    >>> changes_of([PatchOp("incr", "/dragons", 2), PatchOp("add", "/met/Smaug", True), PatchOp("remove", "/met/Ann")])
    ... # doctest: +NORMALIZE_WHITESPACE
    (Change(kind=<Kind.ADD: 'add'>, field='dragons', what=b'2'),
     Change(kind=<Kind.JOIN: 'join'>, field='met', what=b'Smaug'),
     Change(kind=<Kind.LEAVE: 'leave'>, field='met', what=b'Ann'))
    """
    if len(patch) > MAX_PATCH_OPERATIONS:
        raise InvalidPatch(f"a patch has more than {MAX_PATCH_OPERATIONS} operations")
    changes = tuple(map(_change, patch))
    whole = [change.field for change in changes if change.kind not in (Kind.JOIN, Kind.LEAVE)]
    elements = [(change.field, change.what) for change in changes if change.kind in (Kind.JOIN, Kind.LEAVE)]
    fields = {field for field, _ in elements}
    if len({*whole}) < len(whole) or len({*elements}) < len(elements) or fields.intersection(whole):
        raise InvalidPatch("a patch of user-scope state changes the same twice")
    return changes


def _change(operation: PatchOp) -> Change:
    tokens = tokens_of(operation.path)
    field = tokens[0]
    if not field or "/" in field or len(field) > MAX_FIELD or len(tokens) > 2:
        raise InvalidPatch("a path names no field of user-scope state, and no element of a Set")
    if not _writable(field) or not all(map(_writable, tokens)):
        raise InvalidPatch("a name cannot be encoded")
    if len(tokens) == 2:
        element = tokens[1].encode()
        if operation.op == "add" and operation.value is True:
            return Change(Kind.JOIN, field, element)
        if operation.op == "remove":
            return Change(Kind.LEAVE, field, element)
        raise InvalidPatch("an element of a Set is added (true) or removed")
    if operation.op == "remove":
        return Change(Kind.DROP, field)
    if operation.op == "incr":
        if type(operation.value) is not int or abs(operation.value) > MAX_COUNT:
            raise InvalidPatch("a Counter grows by whole numbers of at most 53 bits")
        return Change(Kind.ADD, field, str(operation.value).encode())
    check_value(operation.value)
    try:
        return Change(Kind.PUT, field, _pack(operation.value))
    except (msgspec.MsgspecError, ValueError):
        raise InvalidPatch("a value cannot be encoded") from None


def _writable(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def difference(raw: View, before: View, after: View, kinds: Mapping[str, str]) -> tuple[PatchOp, ...]:
    """The patch that carries what a turn changed, each field by its kind (`last` where `kinds` has none).

    `raw` is the state as stored, `before` and `after` what this code's State makes of it: a default is written only
    once it changed, and what only `raw` has stays.

    >>> kinds = {"dragons": "counter", "met": "set"}
    >>> before = {"dragons": 1, "met": {"Ann": True}, "mood": "calm"}
    >>> difference(before, before, {"dragons": 3, "met": {"Smaug": True}, "mood": "calm"}, kinds)
    ... # doctest: +NORMALIZE_WHITESPACE
    (PatchOp(op='incr', path='/dragons', value=2),
     PatchOp(op='remove', path='/met/Ann', value=None),
     PatchOp(op='add', path='/met/Smaug', value=True))
    """
    found = [PatchOp("remove", f"/{escape(field)}") for field in before if field not in after and field in raw]
    for field, value in after.items():
        path, was = f"/{escape(field)}", before.get(field)
        match kinds.get(field, "last"):
            case "counter":
                if value != (was or 0):
                    found.append(PatchOp("incr", path, value - (was or 0)))
            case "set":
                had, has = was or {}, value
                found += [PatchOp("remove", f"{path}/{escape(one)}") for one in sorted(had) if one not in has]
                found += [PatchOp("add", f"{path}/{escape(one)}", True) for one in sorted(has) if one not in had]
            case _:
                if field not in before or not same(was, value):
                    found.append(PatchOp("replace" if field in raw else "add", path, value))
    return tuple(found)


def applied(view: View, changes: Iterable[Change]) -> View:
    """The view after these changes, where nobody else changed anything.

    >>> applied({"dragons": 1}, changes_of([PatchOp("incr", "/dragons", 2), PatchOp("add", "/met/Smaug", True)]))
    {'dragons': 3, 'met': {'Smaug': True}}
    """
    after = dict(view)
    for change in changes:
        there = after.get(change.field)
        match change.kind:
            case Kind.PUT:
                after[change.field] = _unpack(change.what)
            case Kind.DROP:
                after.pop(change.field, None)
            case Kind.ADD:
                after[change.field] = (there if type(there) is int else 0) + int(change.what)
            case Kind.JOIN:
                after[change.field] = {**(there if type(there) is dict else {}), change.what.decode(): True}
            case Kind.LEAVE if type(there) is dict:
                after[change.field] = {one: true for one, true in there.items() if one != change.what.decode()}
    return after


# ── what is stored ──────────────────────────────────────────────────────────────────


def version_of(stored: Stored) -> int:
    """0 where nobody has written yet."""
    return int(stored.get(b"@", b"0"))


def mark_of(stored: Stored) -> str:
    """Two copies of one version with the same mark are the same."""
    return stored.get(b"!", b"").decode()


def view_of(stored: Stored) -> View:
    """The state as logic sees it. Raises InvalidPatch where the bytes are not what `merge` writes.

    >>> view_of({b"@": b"3", b".mood": b"1 l" + _pack("calm"), b".met": b"3 s", b"+met/Smaug": b"3", b".n": b"2 c-4"})
    {'met': {'Smaug': True}, 'mood': 'calm', 'n': -4}
    """
    view: View = {}
    try:
        for name in sorted(stored):
            if name[:1] == b".":
                entry = _Entry.read(stored[name])
                view[name[1:].decode()] = {} if entry.kind == b"s" else _unpack(_value(entry, ()))
        for name in sorted(stored):
            if name[:1] == b"+":
                field, _, element = name[1:].decode().partition("/")
                view[field][element] = True
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError):
        raise InvalidPatch("user-scope state cannot be read") from None
    return view


@dataclass(frozen=True, slots=True)
class _Entry:
    written: int
    kind: bytes
    """l: last, c: Counter, s: Set."""
    value: bytes

    @classmethod
    def read(cls, stored: bytes) -> "_Entry":
        version, _, rest = stored.partition(b" ")
        return cls(int(version), rest[:1], rest[1:])


def _value(entry: _Entry, elements: Sequence[bytes]) -> bytes:
    if entry.kind == b"l":
        return entry.value
    return _pack(int(entry.value)) if entry.kind == b"c" else _pack([one.decode() for one in elements])


def merge(stored: Stored, changes: Sequence[Change], *, base: int, mark: str, max_bytes: int) -> Merged:
    """`stored` after the changes of a turn that had read version `base`; what made it is called `mark`.

    Raises CounterTooLarge, or StateTooLarge where it grows over `max_bytes`; nothing is changed then.
    """
    version = version_of(stored)
    seen = base if base <= version else 0  # what a store that forgot holds now, nobody has seen
    merging = _Merging(dict(stored), next_version(version, base), base, seen)
    for change in changes:
        merging.take(change)
    after = merging.stored
    size = sum(len(name) + len(value) for name, value in after.items() if name[:1] in (b".", b"+"))
    if size > max_bytes and size > int(stored.get(b"#", b"0")):
        raise StateTooLarge(
            f"user-scope state would take over {max_bytes} bytes with what other sessions keep in it",
            hint="Keep less in State with scope user",
        )
    after |= {b"@": b"%d" % merging.version, b"!": mark.encode(), b"#": b"%d" % size}
    return Merged(after, merging.version, tuple(merging.overridden))


@dataclass(slots=True)
class _Merging:
    stored: dict[bytes, bytes]
    version: int
    base: int
    seen: int

    overridden: list[Overridden] = dataclasses.field(default_factory=list)

    def take(self, change: Change) -> None:
        name = b"." + change.field.encode()
        entry = _Entry.read(self.stored[name]) if name in self.stored else None
        match change.kind:
            case Kind.PUT:
                self._displace(change.field, entry, b"l", change.what)
                self._write(name, b"l" + change.what)
            case Kind.DROP:
                self._displace(change.field, entry, b"", b"")
                self.stored.pop(name, None)
            case Kind.ADD:
                self._write(name, b"c%d" % self._sum(change, entry))
            case Kind.JOIN:
                if entry is None or entry.kind != b"s":
                    self._displace(change.field, entry, b"s", b"")
                self._write(name, b"s")
                self.stored[_element(change)] = b"%d" % self.version
            case Kind.LEAVE:
                added = self.stored.get(_element(change))
                if entry is not None and entry.kind == b"s" and added is not None and int(added) <= self.base:
                    del self.stored[_element(change)]
                    self._write(name, b"s")

    def _write(self, name: bytes, value: bytes) -> None:
        self.stored[name] = b"%d " % self.version + value

    def _sum(self, change: Change, entry: _Entry | None) -> int:
        before = 0
        if entry is not None:
            counted = _unpack(entry.value) if entry.kind == b"l" else None
            if entry.kind == b"c":
                before = int(entry.value)
            elif type(counted) is int and abs(counted) <= MAX_COUNT:
                before = counted  # a plain number that became a Counter goes on from where it was
            else:
                self._displace(change.field, entry, b"c", b"")
        after = before + int(change.what)
        if abs(after) > MAX_COUNT:
            raise CounterTooLarge("a Counter would have more than 53 bits")
        return after

    def _displace(self, field: str, entry: _Entry | None, kind: bytes, value: bytes) -> None:
        """What was there goes. It is kept aside if this turn had not seen it, and did not say the same."""
        if entry is None:
            return
        prefix = b"+" + field.encode() + b"/"
        names = sorted(name for name in self.stored if entry.kind == b"s" and name.startswith(prefix))
        empty = entry.kind == b"s" and not names
        if entry.written > self.seen and not empty and (entry.kind, entry.value) != (kind, value):
            elements = [name[len(prefix) :] for name in names]
            self.overridden.append(Overridden(field, entry.written, _value(entry, elements)))
        for name in names:
            del self.stored[name]


def _element(change: Change) -> bytes:
    return b"+" + change.field.encode() + b"/" + change.what
