"""The `.proto`: what clients generate their code from."""

import textwrap
from collections.abc import Iterator, Mapping

from rolehost_api.proto.numbers import Given, Table, unused
from rolehost_api.proto.shapes import MessageShape, Shape

PACKAGE = "rolehost.v1"
SERVICE = "RoleSession"
RPCS = {
    "Converse": ("ClientEvent", True, "ServerEvent", "Talk in one or several sessions of a Role. The first event is `open`."),
    "Watch": ("WatchRequest", False, "StateUpdate", "Follow the state of a session, without a word said."),
}  # fmt: skip
"""By name: what comes, whether as a stream, what is answered as a stream, and what for."""


def proto(table: Table, shapes: list[MessageShape], notice: str) -> str:
    """The file's text."""
    head = [f"// {notice}", "// How to use it: grpc.md", "", 'syntax = "proto3";', "", f"package {PACKAGE};", ""]
    service = [f"service {SERVICE} {{"]
    for name, (asked, streamed, told, doc) in RPCS.items():
        comes = f"stream {asked}" if streamed else asked
        service += [f"  // {doc}", f"  rpc {name}({comes}) returns (stream {told});"]
    lines = [*head, *service, "}"]
    for message in shapes:
        lines += ["", *_message(message, table[message.name])]
    return "\n".join(lines) + "\n"


def _message(message: MessageShape, given: Mapping[str, Given]) -> Iterator[str]:
    for line in textwrap.wrap(message.doc, 110):
        yield f"// {line}"
    yield f"message {message.name} {{"
    gone = unused(given, message)
    if gone:
        yield f"  reserved {', '.join(str(number) for number in sorted(gone.values()))};"
        quoted = ", ".join(f'"{name}"' for name in sorted(gone))
        yield f"  reserved {quoted};"
    for field in sorted(message.fields, key=lambda field: given[field.name]):
        yield f"  {_field(field, given)}"
    if message.frames:
        yield "  oneof event {"
        for field in sorted(message.frames, key=lambda field: given[field.name]):
            yield f"    {_field(field, given)}"
        yield "  }"
    yield "}"


def _field(field: Shape, given: Mapping[str, Given]) -> str:
    label = "optional " if field.optional else ""
    note = "  // JSON" if field.json else ""
    return f"{label}{field.declared} {field.name} = {given[field.name][0]};{note}"
