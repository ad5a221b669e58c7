"""The change of a session's state: found by `diff` in the sandbox, folded in by `apply`.

A state is a JSON object. `diff` is trusted by nobody: the gateway folds what it is sent
by `apply`, which bounds every operation on its own and never fails but with InvalidPatch.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import msgspec

from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import MAX_PATCH_OPERATIONS, PatchOp

MAX_DEPTH = 32
MAX_PATH = 1024
MAX_STATE_BYTES = 262_144
MAX_VALUES = 32_768
"""Values that a patch, or a state as a hook leaves it, may hold, each of a container counted: time goes by these."""
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1

State = dict[str, Any]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class InvalidPatch(BadRequest):
    """A patch that does not fit the state, or a value that no state may hold; nothing was changed."""

    code = "invalid_patch"


class StateTooLarge(InvalidPatch):
    """The state would grow over its bound."""

    code = "state_too_large"


def check_value(value: Any, depth: int = 0, room: int = MAX_VALUES) -> int:
    """Raise InvalidPatch unless `value` is plain JSON: finite numbers of 64 bits, nested at most 32 deep.

    Returns how many values there is room for after it; a wide one is refused before it is walked.

    >>> check_value([1, {"a": 2}], room=10)
    6
    """
    if depth > MAX_DEPTH:
        raise InvalidPatch(f"a value is nested deeper than {MAX_DEPTH}")
    kind = type(value)
    room -= 1 + (len(value) if kind in (dict, list) else 0)
    if room < 0:
        raise InvalidPatch(f"a state holds over {MAX_VALUES} values", hint="Keep less in t.state")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise InvalidPatch("a key is not a string")
            room = check_value(item, depth + 1, room + 1)
    elif kind is list:
        for item in value:
            room = check_value(item, depth + 1, room + 1)
    elif kind is int:
        _check_int(value)
    elif kind is float:
        _check_float(value)
    elif not (value is None or kind is bool or kind is str):
        raise InvalidPatch("a value is of a kind that JSON does not have")
    return room


def _check_int(value: int) -> None:
    if not _INT_MIN <= value <= _INT_MAX:
        raise InvalidPatch("a number has more than 64 bits")


def _check_float(value: float) -> None:
    if not isfinite(value):
        raise InvalidPatch("a number is not finite")


def encoded_size(state: Any) -> int:
    """Bytes of a state as it counts against `state.maxBytes`.

    >>> encoded_size({"dragons": 1})
    10
    """
    try:
        return len(_encode(state))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidPatch("a value cannot be encoded") from None


# ── apply ───────────────────────────────────────────────────────────────────────────


def apply(state: State, patch: Sequence[PatchOp], *, max_bytes: int = MAX_STATE_BYTES) -> State:
    """The state after `patch`; `state` itself stays as it is.

    Raises InvalidPatch or StateTooLarge. Safe on anything a pod may send: the size is
    followed operation by operation, so no sequence grows the state first and shrinks it
    later, the values that come are bounded together, and the work is linear in both.

    >>> apply({"dragons": 1}, [PatchOp("incr", "/dragons", 1), PatchOp("add", "/names", ["Smaug"])])
    {'dragons': 2, 'names': ['Smaug']}
    >>> apply({}, [PatchOp("incr", "/dragons", 1)])
    {'dragons': 1}
    """
    if len(patch) > MAX_PATCH_OPERATIONS:
        raise InvalidPatch(f"a patch has more than {MAX_PATCH_OPERATIONS} operations")
    size = encoded_size(state)
    folded: State = _decode(_encode(state))
    room = MAX_VALUES
    for operation in patch:
        tokens = tokens_of(operation.path)
        if operation.op in ("add", "replace"):
            room = check_value(operation.value, len(tokens), room)
            if type(operation.value) in (dict, list):  # a later operation may go into it; the patch stays as it is
                operation = PatchOp(operation.op, operation.path, _decode(_encode(operation.value)))
        size += _perform(folded, tokens, operation)
        if size > max_bytes:
            raise StateTooLarge(f"the state would be over {max_bytes} bytes", hint="Keep less in t.state")
    if encoded_size(folded) > max_bytes:
        raise StateTooLarge(f"the state would be over {max_bytes} bytes", hint="Keep less in t.state")
    return folded


def _perform(state: State, tokens: list[str], operation: PatchOp) -> int:
    """Carry one operation out in place; returns by how many bytes the state grew, about."""
    holder = _walk(state, tokens[:-1])
    if type(holder) is dict:
        return _in_object(holder, tokens[-1], operation)
    if type(holder) is list:
        return _in_list(holder, tokens[-1], operation)
    raise InvalidPatch("a path leads through a value that holds nothing")


def _in_object(holder: dict[str, Any], key: str, operation: PatchOp) -> int:
    known = key in holder
    if operation.op == "incr":
        before = holder.get(key, 0)
        holder[key] = _sum(before, operation.value)
        return 9 if known else len(key) + 14
    if not known and operation.op != "add":
        raise InvalidPatch("a path names a member that is not there")
    grown = -encoded_size(holder[key]) if known else len(key.encode()) + 5
    if operation.op == "remove":
        del holder[key]
        return grown - len(key.encode())
    holder[key] = operation.value
    return grown + encoded_size(operation.value)


def _in_list(holder: list[Any], token: str, operation: PatchOp) -> int:
    if operation.op == "add":
        place = len(holder) if token == "-" else _index(token, len(holder) + 1)
        holder.insert(place, operation.value)
        return encoded_size(operation.value)
    place = _index(token, len(holder))
    if operation.op == "incr":
        holder[place] = _sum(holder[place], operation.value)
        return 9
    shrunk = encoded_size(holder[place])
    if operation.op == "remove":
        del holder[place]
        return -shrunk
    holder[place] = operation.value
    return encoded_size(operation.value) - shrunk


def _sum(before: Any, by: Any) -> int | float:
    if type(before) not in (int, float) or type(by) not in (int, float):
        raise InvalidPatch("incr needs two numbers")
    try:
        after: int | float = before + by
    except OverflowError:
        raise InvalidPatch("a number is not finite") from None
    if type(after) is int:
        _check_int(after)
    else:
        _check_float(after)
    return after


def tokens_of(path: str) -> list[str]:
    """A JSON Pointer's parts. The root itself cannot be named: a state is always an object."""
    if not path.startswith("/") or len(path) > MAX_PATH:
        raise InvalidPatch("a path is no JSON Pointer below the root, or over 1024 characters")
    tokens = path[1:].split("/")
    if len(tokens) > MAX_DEPTH:
        raise InvalidPatch(f"a path is deeper than {MAX_DEPTH}")
    return [token.replace("~1", "/").replace("~0", "~") if "~" in token else token for token in tokens]


def _walk(state: State, tokens: list[str]) -> Any:
    here: Any = state
    for token in tokens:
        if type(here) is dict and token in here:
            here = here[token]
        elif type(here) is list:
            here = here[_index(token, len(here))]
        else:
            raise InvalidPatch("a path names a member that is not there")
    return here


def _index(token: str, length: int) -> int:
    canonical = token.isascii() and token.isdigit() and len(token) < 8 and (token == "0" or token[0] != "0")
    if not canonical or int(token) >= length:
        raise InvalidPatch("a path names an element that is not there")
    return int(token)


# ── diff ────────────────────────────────────────────────────────────────────────────


def diff(raw: State, before: State, after: State) -> tuple[PatchOp, ...]:
    """The operations that carry a change from `before` to `after` into `raw`.

    `raw` is the state as stored; `before` and `after` are what this code's State type
    makes of it, read and after the hooks. What only `raw` has, newer code wrote: it is
    kept. What only `before` has is a default: it is written only once it changed.

    >>> diff({"new": 1}, {"dragons": 0}, {"dragons": 2})
    (PatchOp(op='incr', path='/dragons', value=2),)
    >>> diff({"new": 1, "names": []}, {"names": [], "mood": "calm"}, {"names": ["Smaug"], "mood": "calm"})
    (PatchOp(op='add', path='/names/-', value='Smaug'),)
    """
    operations = _object(raw, before, after, "")
    if len(operations) <= MAX_PATCH_OPERATIONS:
        return tuple(operations)
    return tuple(_object(raw, before, after, "", deep=False))


def _object(raw: State, before: State, after: State, path: str, *, deep: bool = True) -> list[PatchOp]:
    found = [PatchOp("remove", f"{path}/{escape(key)}") for key in before if key not in after and key in raw]
    for key, value in after.items():
        place = f"{path}/{escape(key)}"
        if key not in before:
            found.append(PatchOp("add", place, value))
        elif not same(before[key], value):
            if key in raw:
                found += _value(raw[key], before[key], value, place, deep=deep)
            elif _is_int(value) and _is_int(before[key]) and before[key] == 0:
                found.append(PatchOp("incr", place, value))
            else:
                found.append(PatchOp("add", place, value))
    return found


def _value(raw: Any, before: Any, after: Any, path: str, *, deep: bool) -> list[PatchOp]:
    if all(_is_int(value) for value in (raw, before, after)) and raw == before and _fits(after - before):
        return [PatchOp("incr", path, after - before)]
    whole = [PatchOp("replace", path, after)]
    if not deep:
        return whole
    kinds = {type(raw), type(before), type(after)}
    if kinds == {dict}:
        finer = _object(raw, before, after, path)
    elif kinds == {list} and len(raw) == len(before):
        finer = _list(raw, before, after, path)
    else:
        return whole
    fits = all(len(operation.path) <= MAX_PATH for operation in finer)
    return finer if fits and (kinds == {dict} or len(finer) <= 1 + len(after) // 2) else whole


def _list(raw: list[Any], before: list[Any], after: list[Any], path: str) -> list[PatchOp]:
    common = min(len(before), len(after))
    found: list[PatchOp] = []
    for place in range(common):
        if not same(before[place], after[place]):
            found += _value(raw[place], before[place], after[place], f"{path}/{place}", deep=True)
    found += [PatchOp("remove", f"{path}/{place}") for place in range(len(before) - 1, common - 1, -1)]
    found += [PatchOp("add", f"{path}/-", value) for value in after[common:]]
    return found


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: True is not 1, and 1 is not 1.0."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _is_int(value: Any) -> bool:
    return type(value) is int


def _fits(value: int) -> bool:
    return _INT_MIN <= value <= _INT_MAX


def escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key
