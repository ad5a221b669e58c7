"""Message classes, made at the start of the types themselves (rolehost_api/proto)."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from rolehost_api.proto import numbers, shapes
from rolehost_api.proto.numbers import Given
from rolehost_api.proto.shapes import MessageShape, Shape
from rolehost_api.proto.text import PACKAGE, RPCS, SERVICE

FILE_NAME = "role_session.proto"
FULL_SERVICE = f"{PACKAGE}.{SERVICE}"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
    "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
}

SHAPES: Mapping[str, MessageShape] = {shape.name: shape for shape in shapes.messages()}


def described() -> descriptor_pb2.FileDescriptorProto:
    """The file as a compiler would describe it that read docs/reference/role_session.proto."""
    file = descriptor_pb2.FileDescriptorProto(name=FILE_NAME, package=PACKAGE, syntax="proto3")
    table = numbers.load()
    for shape in SHAPES.values():
        _message(file.message_type.add(name=shape.name), shape, table[shape.name])
    service = file.service.add(name=SERVICE)
    for name, (asked, streamed, told, _) in RPCS.items():
        service.method.add(
            name=name,
            input_type=f".{PACKAGE}.{asked}",
            output_type=f".{PACKAGE}.{told}",
            client_streaming=streamed or None,
            server_streaming=True,
        )
    return file


def _message(to: descriptor_pb2.DescriptorProto, shape: MessageShape, given: Mapping[str, Given]) -> None:
    gone = numbers.unused(given, shape)
    for number in sorted(gone.values()):
        to.reserved_range.add(start=number, end=number + 1)
    to.reserved_name.extend(sorted(gone))
    if shape.frames:
        to.oneof_decl.add(name="event")
    for field in sorted(shape.fields, key=lambda field: given[field.name]):
        described_field = _field(to, field, given)
        if field.optional:  # what a compiler makes of `optional`: a oneof of its own
            described_field.proto3_optional = True
            described_field.oneof_index = len(to.oneof_decl)
            to.oneof_decl.add(name=f"_{field.name}")
    for field in sorted(shape.frames, key=lambda field: given[field.name]):
        _field(to, field, given).oneof_index = 0


def _field(to: descriptor_pb2.DescriptorProto, field: Shape, given: Mapping[str, Given]) -> Any:
    return to.field.add(
        name=field.name,
        number=given[field.name][0],
        label=_Field.LABEL_REPEATED if field.repeated else _Field.LABEL_OPTIONAL,
        type=_Field.TYPE_MESSAGE if field.is_message else _SCALARS[field.type],
        type_name=f".{PACKAGE}.{field.type}" if field.is_message else None,
    )


POOL = descriptor_pool.DescriptorPool()
"""Our own: a client in the same process may have generated code of the same file."""
POOL.AddSerializedFile(described().SerializeToString())


def message(name: str) -> type[Message]:
    """The class of the message called so."""
    found: type[Message] = message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    return found


ClientEvent, ServerEvent, WatchRequest, StateUpdate = map(
    message, ("ClientEvent", "ServerEvent", "WatchRequest", "StateUpdate")
)
