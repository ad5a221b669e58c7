"""The states that a turn may change: the session's, and the person's where the Role keeps one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from rolehost import Role, State, Turn
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.behavior.place import BEHAVIOR
from rolehost_runtime.core.merge import ALONE, MAX_COUNT, CounterTooLarge, applied, changes_of, difference
from rolehost_runtime.core.patch import StateTooLarge, apply, check_value, diff, encoded_size
from rolehost_runtime.core.shown import HIDDEN

Encoded = dict[str, Any]


class Holder(Protocol):
    """Who is given states: a turn, or who looks at one."""

    state: Any
    user_state: Any


@dataclass(frozen=True, slots=True)
class Kept:
    """Both as JSON, as this code's types read or left them."""

    session: Encoded
    user: Encoded = field(default_factory=dict)
    behavior: Encoded | None = None
    """Where the session stands in its graph, and what it changes of it; None: there is no graph."""


@dataclass(frozen=True, slots=True)
class States:
    """How a Role's turn reads them and what it changed, from what is stored, whatever code wrote that."""

    role: Role[Any]
    session: Encoded
    shared: Encoded | None
    """User-scope state; None: nobody is named, so it is a part of this session's own."""
    max_bytes: int

    @property
    def _user(self) -> Encoded:
        alone = self.session.get(ALONE)
        return self.shared if self.shared is not None else alone if type(alone) is dict else {}

    def read(self) -> Kept:
        """What this code's types make of what is stored. Raises msgspec.ValidationError or RecursionError."""
        own = {name: value for name, value in self.session.items() if name not in (ALONE, *HIDDEN)}
        session = _encoded(_decoded(own, self.role.state))
        if self.role.user_state is None:
            return Kept(session)
        return Kept(session, self._encode_user(self._decode_user(self._user)))

    def give(self, turn: Holder, kept: Kept) -> None:
        """The turn's states are these, each a copy of its own. Raises as `read` does."""
        session = _decoded(kept.session, self.role.state)
        turn.user_state = None if self.role.user_state is None else self._decode_user(kept.user)
        turn.state = turn.user_state if self._only_shared else session

    def left(self, turn: Turn[Any]) -> Kept:
        """As the hooks left them."""
        session = {} if self._only_shared else _encoded(turn.state)
        return Kept(session, {} if self.role.user_state is None else self._encode_user(turn.user_state))

    def check(self, turn: Turn[Any], before: Kept) -> None:
        """What a hook left must be of its types, plain, and small enough unless it was larger. Raises anything."""
        role, shared = self.role, self.role.user_state
        if type(turn.state) is not (shared if self._only_shared else role.state) or (
            shared is not None and type(turn.user_state) is not shared
        ):
            raise TypeError("t.state was replaced by something else")
        if self._only_shared and turn.state is not turn.user_state:
            raise TypeError("t.state was replaced by something else")
        left = self.left(turn)
        for encoded, was in ((left.session, before.session), (left.user, before.user)):
            check_value(encoded)
            size = encoded_size(encoded)
            if size > self.max_bytes and size > encoded_size(was):
                raise StateTooLarge(f"the state is over {self.max_bytes} bytes")
        _decoded(left.session, role.state)
        if shared is not None:
            self._decode_user(left.user)
            changes_of(difference(self._user, before.user, left.user, role.merges))
            counters = [name for name, kind in role.merges.items() if kind == "counter"]
            if any(abs(left.user.get(name, 0)) > MAX_COUNT for name in counters):
                raise CounterTooLarge("a Counter has more than 53 bits")

    def patches(self, before: Kept, after: Kept) -> tuple[tuple[PatchOp, ...], tuple[PatchOp, ...]]:
        """What the turn changed of the session's and of the person's. Raises InvalidPatch where it does not fit with
        what newer code keeps."""
        if self.shared is not None or self.role.user_state is None:
            patch = diff(self.session, self._whole(before), self._whole(after))
            shared = difference(self.shared or {}, before.user, after.user, self.role.merges)
            applied(self.shared or {}, changes_of(shared))
        else:
            patch, shared = diff(self.session, self._alone(before), self._alone(after)), ()
        apply(self.session, patch, max_bytes=self.max_bytes)
        return patch, shared

    @staticmethod
    def _whole(kept: Kept) -> Encoded:
        return kept.session if kept.behavior is None else {**kept.session, BEHAVIOR: kept.behavior}

    def _alone(self, kept: Kept) -> Encoded:
        return {**self._whole(kept), ALONE: kept.user}

    @property
    def _only_shared(self) -> bool:
        return self.role.user_state is not None and self.role.state is State

    # A Set is an object of its elements, so that a change names one of them wherever it stands among the others.

    def _encode_user(self, state: Any) -> Encoded:
        encoded = _encoded(state)
        for name, kind in self.role.merges.items():
            if kind == "set" and name in encoded:
                encoded[name] = dict.fromkeys(sorted(encoded[name]), True)
        return encoded

    def _decode_user(self, raw: Mapping[str, Any]) -> Any:
        given = dict(raw)
        for name, kind in self.role.merges.items():
            if kind == "set" and type(given.get(name)) is dict:
                given[name] = list(given[name])
        return _decoded(given, self.role.user_state)


def _decoded(raw: Mapping[str, Any], kind: Any) -> Any:
    """A copy: `convert` itself would share untyped containers with what it was given."""
    return msgspec.convert(msgspec.to_builtins(raw), kind, str_keys=True)


def _encoded(state: Any) -> Encoded:
    encoded: Encoded = msgspec.to_builtins(state, str_keys=True)
    return encoded
