"""`t.memory`: what a Role remembers of the person that it speaks with."""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from rolehost_api.errors import LogicError
from rolehost_api.link.messages import (
    MAX_ATOM_CHARS,
    MAX_QUERY_CHARS,
    MAX_RECALLED,
    MAX_TERM_CHARS,
    Recollection,
    Remember,
)

Kind = Literal["short", "long", "rel"]
KINDS: tuple[Kind, ...] = ("short", "long", "rel")
Relation = tuple[str, str, str]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing that is remembered."""

    id: str
    kind: Kind
    text: str
    """Of a relation: its subject, predicate and object, with arrows between them."""
    relation: Relation | None = None
    at: datetime = _EPOCH
    """When it was remembered."""
    since: datetime | None = None
    until: datetime | None = None
    """When a relation holds; `until` is None where it still does."""
    session_id: str = ""
    turn: int = 0
    """Where it comes from."""
    asserted: bool = False
    """The user said so, and nobody confirmed it."""

    @classmethod
    def of(cls, found: Recollection) -> "Memory":
        is_relation = found.kind == "rel"
        return cls(
            id=found.id,
            kind=found.kind,
            text=found.text,
            relation=(found.subject, found.predicate, found.object) if is_relation else None,
            at=moment(found.at_ms),
            since=None if found.valid_from_ms is None else moment(found.valid_from_ms),
            until=None if found.valid_to_ms is None else moment(found.valid_to_ms),
            session_id=found.session_id,
            turn=found.turn,
            asserted=found.asserted,
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What awaiting a recall yields; what was found is sent back in."""

    query: str
    k: int
    kinds: tuple[Kind, ...]
    subject: str = ""
    predicate: str = ""
    as_of_ms: int | None = None
    asserted: bool = False
    to_forget: bool = False


class Mind(Protocol):
    """What t.memory needs of the engine for what has no answer."""

    def remember(self, what: Remember) -> None: ...

    def keep_in_mind(self, text: str) -> None: ...

    def forget(self, name: str) -> None: ...

    def confirm(self, name: str) -> None: ...


class Noted:
    """What `remember` and `confirm` return: it is noted already, and awaiting it is a courtesy."""

    def __await__(self) -> Generator[Look, list[Memory], None]:
        return None
        yield  # makes this a generator


class Recalling:
    """What `recall` returns. Await it."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def __await__(self) -> Generator[Look, list[Memory], list[Memory]]:
        return (yield self._look)


class Forgetting:
    """What `forget` returns. Await it for how many memories go."""

    def __init__(self, mind: Mind, names: tuple[str, ...], look: Look | None) -> None:
        self._mind, self._names, self._look = mind, names, look

    def __await__(self) -> Generator[Look, list[Memory], int]:
        names = self._names
        if self._look is not None:
            found = yield self._look
            names = tuple(one.id for one in found)
            for name in names:
                self._mind.forget(name)
        return len(names)


class Memories:
    """What is remembered is durable with the turn, or not at all; whose it is, the platform knows.

    Of an end user it is shared by all their sessions with the Role. Where nobody is named it is this session's only.
    """

    def __init__(self, mind: Mind) -> None:
        self._mind = mind

    def remember(
        self,
        what: str | Relation,
        *,
        kind: Kind | None = None,
        many: bool = False,
        salience: float = 0.5,
        asserted: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Noted:
        """Remember a text, or a relation such as `("Ann", "fears", "spiders")`.

        `kind`: `short` is kept in mind for minutes, `long` for good; a triple is `rel`. `salience`, 0 to 1: what
        matters less goes first where there is too much. `asserted`: the user said so, and you do not vouch for it; it
        is recalled only where it is asked for, until you `confirm` it. Of a relation: `many` objects may hold at once
        (else the newest takes the place of the one before), and when it holds.

        Raises LogicError `invalid_memory`, `too_many_memories`, `permission_denied`.
        """
        if not isinstance(salience, int | float) or not 0 <= salience <= 1:
            raise _invalid("salience is a number from 0 to 1")
        if isinstance(what, tuple):
            if len(what) != 3 or kind not in (None, "rel"):
                raise _invalid('a relation is ("Ann", "fears", "spiders"), of kind rel')
            subject, predicate, object_ = (_text(term, MAX_TERM_CHARS) for term in what)
            self._mind.remember(
                Remember(
                    kind="rel", subject=subject, predicate=predicate, object=object_, many=many,
                    salience=round(100 * salience), asserted=asserted,
                    valid_from_ms=milliseconds(since), valid_to_ms=milliseconds(until),
                )
            )  # fmt: skip
            return Noted()
        text = _text(what, MAX_ATOM_CHARS)
        if kind == "rel" or many or since is not None or until is not None:
            raise _invalid('a relation is ("Ann", "fears", "spiders"), and only one holds from one time to another')
        if kind not in (None, "short", "long"):
            raise _invalid("kind is short, long or rel")
        if kind == "short":
            self._mind.keep_in_mind(text)
        else:
            self._mind.remember(Remember(text=text, salience=round(100 * salience), asserted=asserted))
        return Noted()

    def recall(
        self,
        query: str = "",
        *,
        k: int = 5,
        kinds: tuple[Kind, ...] | Kind = KINDS,
        subject: str = "",
        predicate: str = "",
        as_of: datetime | None = None,
        asserted: bool = False,
    ) -> Recalling:
        """At most `k` memories that have to do with `query`, best first; without one, what matters most.

        `subject`, `predicate`: only relations of that. `as_of`: what held then, whatever took its place since.
        `asserted`: also what users said of themselves and nobody confirmed. Awaiting it raises LogicError
        `permission_denied`, or `state_unavailable` where the store is away.
        """
        return Recalling(self._look(query, k, kinds, subject, predicate, as_of, asserted, to_forget=False))

    def forget(self, what: "Memory | str | None" = None, *, about: str | None = None) -> Forgetting:
        """Forget a memory (or its id), or (`about`) whatever has to do with that, of MAX_RECALLED at once; for good.

        It takes the permission `memory.forget`. Awaiting it tells how many go.
        """
        if (what is None) == (about is None):
            raise _invalid("forget takes a memory, or about=…")
        if about is not None:
            look = self._look(about, MAX_RECALLED, ("long", "rel"), "", "", None, True, to_forget=True)
            if not about.strip():
                raise _invalid("about is what to forget, and not empty")
            return Forgetting(self._mind, (), look)
        name = _name(what)
        self._mind.forget(name)
        return Forgetting(self._mind, (name,), None)

    def confirm(self, what: "Memory | str") -> Noted:
        """What the user asserted is true as far as you know: it is recalled, and told to the model, from now on."""
        self._mind.confirm(_name(what))
        return Noted()

    def _look(
        self,
        query: str,
        k: int,
        kinds: tuple[Kind, ...] | Kind,
        subject: str,
        predicate: str,
        as_of: datetime | None,
        asserted: bool,
        *,
        to_forget: bool,
    ) -> Look:
        wanted = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        if not wanted or any(kind not in KINDS for kind in wanted) or len(set(wanted)) < len(wanted):
            raise _invalid("kinds are short, long and rel")
        if not isinstance(k, int) or not 1 <= k <= MAX_RECALLED:
            raise _invalid(f"k is a number from 1 to {MAX_RECALLED}")
        asked = query[:MAX_QUERY_CHARS] if isinstance(query, str) else query
        return Look(
            _text(asked, MAX_QUERY_CHARS, empty=True), k, wanted, _text(subject, MAX_TERM_CHARS, empty=True),
            _text(predicate, MAX_TERM_CHARS, empty=True), milliseconds(as_of), asserted, to_forget,
        )  # fmt: skip


def moment(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def milliseconds(at: datetime | None) -> int | None:
    """Since 1970. Raises LogicError `invalid_memory` for a time that says no zone, or is before 1970."""
    if at is None:
        return None
    if not isinstance(at, datetime) or at.tzinfo is None or at < _EPOCH:
        raise _invalid("a time is a datetime with its zone, from 1970 on, as t.now is")
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _text(text: Any, most: int, *, empty: bool = False) -> str:
    if not isinstance(text, str) or len(text) > most or not (empty or text.strip()):
        raise _invalid(f"what is remembered is text of 1 to {most} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid("the text holds half a surrogate pair") from None
    return text


def _name(what: Any) -> str:
    name = what.id if isinstance(what, Memory) else what
    if not isinstance(name, str) or not 0 < len(name) <= 32 or not name.isalnum() or not name.isascii():
        raise _invalid("a memory is named by its id, as recall gives it")
    return name


def _invalid(why: str) -> LogicError:
    return LogicError(why, code="invalid_memory")
