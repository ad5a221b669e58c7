"""State: what a Role keeps of a session, or of a person over all their sessions; typed, durable with the turn."""

from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from rolehost_api.errors import LogicError

SCOPES = ("session", "user")

Counter = Annotated[int, Meta(extra={"merge": "counter"})]
"""A number of which differences count: `t.state.dragons += 1` in two sessions at once makes two more."""
Set = Annotated[set[str], Meta(extra={"merge": "set"})]
"""Words of which what was added and removed counts: `t.state.met.add("Smaug")` in one session takes nothing from another."""


class _StateMeta(msgspec.StructMeta):
    """Takes `scope=` beside msgspec's own options."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        scope: Literal["session", "user"] | None = None,
        **options: Any,
    ) -> Any:
        if scope is not None and scope not in SCOPES:
            raise LogicError(
                f"State {name} has scope {scope!r}, which there is not",
                hint='Leave scope out for one per session, or say scope="user" for one per person',
                code="scope_not_supported",
            )
        made: Any = super().__new__(mcls, name, bases, namespace, **options)
        made.__state_scope__ = scope or getattr(made, "__state_scope__", "session")
        if bases != (msgspec.Struct,):
            _check(made)
        return made


def _check(made: "type[State]") -> None:
    """A new session starts from the defaults, so there must be one for every field."""
    try:
        empty = made()
    except TypeError:
        raise LogicError(
            f"every field of State {made.__name__} needs a default",
            hint="A new session starts from the defaults, e.g. `dragons: int = 0`",
            code="state_needs_defaults",
        ) from None
    encoded = msgspec.to_builtins(empty)
    if not isinstance(encoded, dict):
        raise LogicError(f"State {made.__name__} cannot be array_like", code="invalid_state")
    if any(name.startswith("@") for name in encoded):
        raise LogicError(
            f"a field of State {made.__name__} begins with @, which is the platform's", code="invalid_state"
        )


def scope_of(state: "type[State]") -> str:
    """`session` or `user`."""
    return str(getattr(state, "__state_scope__", "session"))


def merges(state: "type[State]") -> dict[str, str]:
    """How the fields merge that are no plain ones: by their encoded names, `counter` or `set`.

    Raises LogicError `invalid_state` where one does not begin at nothing, or nobody is there to merge with.
    """
    try:
        hints = get_type_hints(state, include_extras=True)
    except Exception:  # a name that only type checkers know; msgspec itself then says what is wrong with it
        return {}
    kinds: dict[str, str] = {}
    for field in msgspec.structs.fields(state):
        kind = _kind(hints.get(field.name))
        if kind is None:
            continue
        if scope_of(state) != "user":
            raise LogicError(
                f"{state.__name__}.{field.name} is a Counter or Set, but its State has no scope user",
                hint='class Bond(State, scope="user"), or a plain int or set[str]',
                code="invalid_state",
            )
        if getattr(state(), field.name) not in (0, set()):
            raise LogicError(
                f"{state.__name__}.{field.name} does not begin at nothing",
                hint="A Counter begins at 0 and a Set empty: what merges are differences from there",
                code="invalid_state",
            )
        kinds[field.encode_name] = kind
    return kinds


def _kind(hint: Any) -> str | None:
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, Meta) and meta.extra and "merge" in meta.extra:
            return str(meta.extra["merge"])
    return None


class State(msgspec.Struct, metaclass=_StateMeta):
    """Subclass it and name the class in `Role(state=…)`.

    class Tale(State):
        dragons: int = 0

    Change it as you like during a turn, nested values too; what changed is found by
    comparing before and after, checked against the types, and durable with the turn.

    With `scope="user"` there is one per person, shared by all their sessions with the Role:

    class Bond(State, scope="user"):
        mood: str = "calm"          # the newest turn wins
        dragons: Counter = 0        # differences add up
        met: Set = set()            # what was added and removed is merged
    """
