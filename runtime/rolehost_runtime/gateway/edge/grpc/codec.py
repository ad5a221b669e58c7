"""Frames to bytes and back. Only what the types name is built, whatever else the bytes hold."""

from typing import Any, TypeVar, cast, get_args

import msgspec
from google.protobuf.message import DecodeError, Message
from msgspec import UNSET, Struct

from rolehost_api import wire
from rolehost_api.errors import BadRequest
from rolehost_api.proto import calls
from rolehost_api.proto.shapes import MessageShape, member, tag_of
from rolehost_runtime.gateway.edge.grpc.messages import SHAPES, ClientEvent, ServerEvent, StateUpdate, WatchRequest

T = TypeVar("T", bound=Struct)

_TAGS = {member(frame): tag_of(frame) for frame in get_args(wire.ClientFrame)}
_MEMBERS: dict[type[Struct], str] = {frame: member(frame) for frame in get_args(wire.ServerFrame)}


# ── to the client ───────────────────────────────────────────────────────────────────


def event(frame: wire.ServerFrame) -> bytes:
    """A frame as a ServerEvent."""
    whole: Any = ServerEvent()
    _fill(whole, frame, SHAPES["ServerEvent"])
    part = getattr(whole, _MEMBERS[type(frame)])
    part.SetInParent()
    _fill(part, frame, SHAPES[type(frame).__name__])
    return cast("bytes", whole.SerializeToString())


def update(frame: wire.ServerFrame) -> bytes:
    """A change of the state as a StateUpdate; nothing of what is no change."""
    if not isinstance(frame, wire.StateDelta):
        return b""
    whole: Any = StateUpdate()
    told = calls.StateUpdate(
        session_id=frame.session_id or "", patch=json_patch(frame), version=frame.version, is_urgent=frame.is_urgent
    )
    _fill(whole, told, SHAPES["StateUpdate"])
    return cast("bytes", whole.SerializeToString())


def json_patch(frame: wire.StateDelta) -> bytes:
    """The operations as RFC 6902 writes them: what is not a removal has a value, and be it null."""
    operations = [
        {"op": one.op, "path": one.path} | ({} if one.op == "remove" else {"value": one.value}) for one in frame.patch
    ]
    return msgspec.json.encode(operations)


def _fill(to: Any, frame: Struct, shape: MessageShape) -> None:
    for field in shape.fields:
        value = getattr(frame, field.attribute)
        if value is None or value is UNSET:
            continue
        if field.json:
            setattr(to, field.name, msgspec.json.encode(value))
        elif field.is_message and field.repeated:
            for one in value:
                _fill(getattr(to, field.name).add(), one, SHAPES[field.type])
        elif field.is_message:
            part = getattr(to, field.name)
            part.SetInParent()
            _fill(part, value, SHAPES[field.type])
        elif field.repeated:
            getattr(to, field.name).extend(value)
        else:
            setattr(to, field.name, value)


# ── from the client ─────────────────────────────────────────────────────────────────


def read_open(data: bytes) -> calls.Open:
    """The first event. Raises BadRequest `malformed_protobuf`, `open_expected` or `invalid_frame`."""
    parsed = _parsed(ClientEvent, data)
    if parsed.WhichOneof("event") != "open":
        raise BadRequest(
            "the first event says which Role is meant", hint="Send ClientEvent{open: {role: …}}", code="open_expected"
        )
    return _converted(_fields(parsed.open, SHAPES["Open"]), calls.Open)


def read_frame(data: bytes) -> wire.ClientFrame:
    """Every further event. Raises BadRequest `malformed_protobuf`, `unknown_type`, `already_open`, `invalid_frame`."""
    parsed = _parsed(ClientEvent, data)
    name = parsed.WhichOneof("event")
    if name == "open":
        raise BadRequest(
            "this stream is open already", hint="Another Role needs another stream, which costs little",
            code="already_open",
        )  # fmt: skip
    if name is None:
        known = ", ".join(_TAGS)
        raise BadRequest("the event's kind is not known here", hint=f"Known are {known}", code="unknown_type")
    said = getattr(parsed, name)
    fields = _fields(said, SHAPES[said.DESCRIPTOR.name])
    return cast("wire.ClientFrame", _converted(fields | {"type": _TAGS[name]}, cast("type[Struct]", wire.ClientFrame)))


def read_watch(data: bytes) -> calls.WatchRequest:
    """Raises BadRequest `malformed_protobuf` or `invalid_frame`."""
    return _converted(_fields(_parsed(WatchRequest, data), SHAPES["WatchRequest"]), calls.WatchRequest)


def _parsed(kind: type[Message], data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise BadRequest(
            f"this is not a {kind.DESCRIPTOR.name} in Protocol Buffers", code="malformed_protobuf"
        ) from None


def _fields(parsed: Any, shape: MessageShape) -> dict[str, Any]:
    """What the message says, as the other formats would say it: what is absent is left out."""
    found: dict[str, Any] = {}
    for field in shape.fields:
        if (field.optional or (field.is_message and not field.repeated)) and not parsed.HasField(field.name):
            continue
        value = getattr(parsed, field.name)
        if field.json:
            found[field.name] = _json(value)
        elif field.is_message and field.repeated:
            found[field.name] = [_fields(one, SHAPES[field.type]) for one in value]
        elif field.is_message:
            found[field.name] = _fields(value, SHAPES[field.type])
        else:
            found[field.name] = list(value) if field.repeated else value
    return found


def _json(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("bytes that hold JSON hold none", code="invalid_frame") from None


def _converted(fields: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        # msgspec's message names the field and the types, never the value.
        raise BadRequest(f"the event is not valid: {error}", code="invalid_frame") from None
