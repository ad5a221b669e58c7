"""Messages of the `.proto`, read off the wire's types.

    str, Literal → string      int → int64, or uint64 where it cannot be negative
    float → double             bool → bool           bytes → bytes
    Struct → its message       tuple[T, …] → repeated; an empty list and none are the same
    Any, dict → bytes that hold JSON

A field is `optional` (absent is not the same as zero) where the type takes None, or its default is not zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from msgspec import Struct
from msgspec import inspect as seen

from rolehost_api import wire
from rolehost_api.proto.calls import Open, StateUpdate, WatchRequest

ENVELOPE = ("session_id", "seq", "ts")
"""Fields that every server's frame has: they are ServerEvent's own, beside the frame."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One field, but for its number."""

    name: str
    type: str
    """string, int64, …; or a message's name."""
    attribute: str
    """The struct's, which may not be called like a word of Python."""
    repeated: bool = False
    optional: bool = False
    json: bool = False
    """The bytes are JSON."""
    is_message: bool = False

    @property
    def declared(self) -> str:
        """What may never change under its number."""
        return f"repeated {self.type}" if self.repeated else self.type


@dataclass(frozen=True, slots=True)
class MessageShape:
    name: str
    fields: tuple[Shape, ...]
    doc: str = ""
    frames: tuple[Shape, ...] = ()
    """Of which there is one: the oneof `event`."""


def tag_of(frame: type[Struct]) -> str:
    """Its `type` on the wire."""
    return str(frame.__struct_config__.tag)


def member(frame: type[Struct]) -> str:
    """A frame's name in the oneof.

    >>> member(wire.TextDelta)
    'response_output_text_delta'
    """
    return tag_of(frame).replace(".", "_")


def messages() -> list[MessageShape]:
    """All of them: the events, the calls' own, then the frames and what they hold."""
    said, heard = get_args(wire.ClientFrame), get_args(wire.ServerFrame)
    envelope = tuple(field for field in _fields(wire.Event) if field.name in ENVELOPE)
    events = [
        MessageShape(
            "ClientEvent", (), frames=(_one_of("open", Open), *(_one_of(member(kind), kind) for kind in said))
        ),
        MessageShape("ServerEvent", envelope, frames=tuple(_one_of(member(kind), kind) for kind in heard)),
    ]
    found: dict[str, MessageShape] = {}
    for kind in (Open, WatchRequest, StateUpdate, *said, *heard):
        for shape in _reached(kind):
            found.setdefault(shape.name, shape)
    return events + list(found.values())


def _one_of(name: str, kind: type[Struct]) -> Shape:
    return Shape(name, kind.__name__, attribute=name, is_message=True)


def _reached(kind: type[Struct]) -> Iterator[MessageShape]:
    """The struct's message, and those of the structs in it."""
    hoisted = ENVELOPE if issubclass(kind, wire.Event) else ()
    shown = _type(kind)
    fields = tuple(_field(field) for field in shown.fields if field.encode_name not in hoisted)
    yield MessageShape(kind.__name__, fields, _doc(kind))
    for field in shown.fields:
        inner = _inner(field.type)
        if isinstance(inner, seen.StructType):
            yield from _reached(inner.cls)


def _type(kind: type[Struct]) -> seen.StructType:
    found = seen.type_info(kind)
    assert isinstance(found, seen.StructType)
    return found


def _fields(kind: type[Struct]) -> tuple[Shape, ...]:
    return tuple(_field(field) for field in _type(kind).fields)


def _field(field: seen.Field) -> Shape:
    inner, repeated = _inner(field.type), _list(field.type) is not None
    json = isinstance(inner, seen.AnyType | seen.DictType)
    return Shape(
        name=field.encode_name,
        type=_scalar(inner, field.encode_name),
        attribute=field.name,
        repeated=repeated,
        optional=not repeated and not isinstance(inner, seen.StructType) and (json or _absent_is_told(field)),
        json=json,
        is_message=isinstance(inner, seen.StructType),
    )


def _absent_is_told(field: seen.Field) -> bool:
    return _takes_none(field.type) or (field.default is not msgspec.NODEFAULT and bool(field.default))


def _takes_none(kind: seen.Type) -> bool:
    return isinstance(kind, seen.UnionType) and kind.includes_none


def _alone(kind: seen.Type) -> seen.Type:
    """The type without None."""
    if not isinstance(kind, seen.UnionType):
        return kind
    rest = [one for one in kind.types if not isinstance(one, seen.NoneType)]
    if len(rest) != 1:
        raise TypeError("a field of several types has no place in the .proto")
    return rest[0]


def _list(kind: seen.Type) -> seen.Type | None:
    """What a list is of; None for what is none."""
    alone = _alone(kind)
    return alone.item_type if isinstance(alone, seen.VarTupleType | seen.ListType) else None


def _inner(kind: seen.Type) -> seen.Type:
    return _alone(_list(kind) or _alone(kind))


def _scalar(kind: seen.Type, name: str) -> str:
    match kind:
        case seen.StructType():
            return kind.cls.__name__
        case seen.StrType():
            return "string"
        case seen.LiteralType(values=values):
            return _literal(values, name)
        case seen.BoolType():
            return "bool"
        case seen.IntType(ge=ge):
            return "int64" if ge is None or ge < 0 else "uint64"
        case seen.FloatType():
            return "double"
        case seen.BytesType() | seen.AnyType() | seen.DictType():
            return "bytes"
    raise TypeError(f"{name}: {type(kind).__name__} has no place in the .proto")


def _literal(values: Sequence[Any], name: str) -> str:
    if all(isinstance(value, bool) for value in values):
        return "bool"
    if all(isinstance(value, str) for value in values):
        return "string"
    raise TypeError(f"{name}: only words and truths may be literal in the .proto")


def _doc(kind: type[Struct]) -> str:
    written = kind.__dict__.get("__doc__") or ""
    return " ".join(written.partition("\n\n")[0].split())
