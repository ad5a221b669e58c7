"""What one turn remembers, forgets and confirms, until it commits; and the session's short memory, which it may change.

A hook that is left out takes with it what it did here, as it does with the state.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rolehost.memory import Look, Memory, moment
from rolehost_api.errors import LogicError
from rolehost_api.link.messages import (
    MAX_FORGOTTEN,
    MAX_REMEMBERED,
    AtomKind,
    PatchOp,
    Recall,
    Recalled,
    Remember,
)
from rolehost_runtime.core.memory import short
from rolehost_runtime.core.memory.atoms import InvalidMemory, Source, made
from rolehost_runtime.core.patch import diff


@dataclass(slots=True)
class TurnMemory:
    """Of one turn, as its hooks have it. Implements rolehost.memory.Mind."""

    now_ms: int
    permissions: Collection[str] | None
    """Of the Role; None: whoever runs the turn does not know, and the gateway says."""
    stored: Mapping[str, Any]
    """The session's state, as it is stored."""
    may_act: Callable[[], None]
    """Raises LogicError where nothing may be done now: no hook runs, or only the predicate of an edge."""
    atoms: tuple[Remember, ...] = ()
    forgotten: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    mind: tuple[short.Thought, ...] = field(default=())
    _thoughts: int = 0

    def __post_init__(self) -> None:
        self.mind = tuple(short.alive(short.read(self.stored), self.now_ms))

    # What hooks do

    def remember(self, what: Remember) -> None:
        self._may("memory.write")
        if len(self.atoms) >= MAX_REMEMBERED:
            raise LogicError(f"a turn remembers at most {MAX_REMEMBERED} things", code="too_many_memories")
        try:
            made([what], Source("", "", 0, "", self.now_ms))
        except InvalidMemory as error:
            raise LogicError(error.message, hint=error.hint, code=error.code) from None
        if what not in self.atoms:
            self.atoms += (what,)

    def keep_in_mind(self, text: str) -> None:
        self._may("memory.write")
        same = [one.id for one in self.mind if one.text == text]
        if same:
            self.mind = tuple(short.used(self.mind, same, self.now_ms))
            return
        self._thoughts += 1
        thought = short.Thought(f"s{self.now_ms}n{self._thoughts}", text, self.now_ms, self.now_ms)
        self.mind = tuple(short.alive([*self.mind, thought], self.now_ms))

    def forget(self, name: str) -> None:
        self._may("memory.forget")
        if any(one.id == name for one in self.mind):
            self.mind = tuple(one for one in self.mind if one.id != name)
            return
        if name in self.forgotten:
            return
        if len(self.forgotten) >= MAX_FORGOTTEN:
            raise LogicError(f"a turn forgets at most {MAX_FORGOTTEN} things", code="too_many_memories")
        self.forgotten += (name,)

    def confirm(self, name: str) -> None:
        self._may("memory.write")
        if name in self.confirmed:
            return
        if len(self.confirmed) >= MAX_FORGOTTEN:
            raise LogicError(f"a turn confirms at most {MAX_FORGOTTEN} things", code="too_many_memories")
        self.confirmed += (name,)

    # Looking

    def question(self, look: Look, index: int) -> Recall | None:
        """What the gateway is asked; None where the answer is here. Raises LogicError `permission_denied`."""
        self._may("memory.forget" if look.to_forget else "memory.read")
        kinds: tuple[AtomKind, ...] = tuple(kind for kind in look.kinds if kind != "short")
        if not kinds:
            return None
        return Recall(
            index=index, query=look.query, k=look.k, kinds=kinds, subject=look.subject, predicate=look.predicate,
            as_of_ms=look.as_of_ms, asserted=look.asserted, to_forget=look.to_forget,
        )  # fmt: skip

    def answer(self, look: Look, recalled: Recalled | None) -> list[Memory]:
        """What the hook is told: what the session has in mind, then what the gateway found. Raises LogicError."""
        if recalled is not None and recalled.error:
            raise LogicError("nothing could be recalled", code=recalled.error)
        here: list[short.Thought] = []
        if "short" in look.kinds and not (look.subject or look.predicate):
            here = short.found(self.mind, look.query, look.k)
            self.mind = tuple(short.used(self.mind, [one.id for one in here], self.now_ms))
        found = [Memory(one.id, "short", one.text, at=moment(one.at_ms)) for one in here]
        found += [Memory.of(one) for one in recalled.atoms] if recalled is not None else []
        return [one for one in found if one.id not in self.forgotten][: look.k]

    # What becomes of it

    def copy(self) -> "TurnMemory":
        return replace(self)

    def back_to(self, before: "TurnMemory") -> None:
        """What was done since is left out."""
        self.atoms, self.forgotten, self.confirmed = before.atoms, before.forgotten, before.confirmed
        self.mind = before.mind

    def patch(self) -> tuple[PatchOp, ...]:
        """Of the session's state: what it has in mind now. What only got old is taken out with the next change."""
        if list(self.mind) == short.alive(short.read(self.stored), self.now_ms):
            return ()
        raw = {name: value for name, value in self.stored.items() if name == short.MIND}
        after = {short.MIND: short.written(self.mind)} if self.mind else {}
        return tuple(diff(raw, raw, after))

    def _may(self, permission: str) -> None:
        self.may_act()
        if self.permissions is not None and permission not in self.permissions:
            raise LogicError(
                f"this Role may not do that: it lacks the permission {permission}",
                hint=f"Add {permission} to spec.template.permissions",
                code="permission_denied",
            )
