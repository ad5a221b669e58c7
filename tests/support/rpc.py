"""A gRPC client made of the published `.proto` alone, as a client in another language would be."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from rolehost_api import wire

PROTO = Path(__file__).parents[2] / "docs" / "reference" / "role_session.proto"
SERVICE = "rolehost.v1.RoleSession"
TYPES = {
    frame.__struct_config__.tag.replace(".", "_"): frame.__struct_config__.tag for frame in get_args(wire.ServerFrame)
}


@cache
def compiled() -> descriptor_pb2.FileDescriptorProto:
    """What protoc makes of the file."""
    with TemporaryDirectory() as folder:
        out = f"{folder}/set"
        assert protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name]) == 0
        [file] = descriptor_pb2.FileDescriptorSet.FromString(Path(out).read_bytes()).file
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")  # protoc writes it out where it follows from the name, too
    return file


@cache
def pool() -> descriptor_pool.DescriptorPool:
    made = descriptor_pool.DescriptorPool()
    made.AddSerializedFile(compiled().SerializeToString())
    return made


def message(name: str) -> Any:
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"rolehost.v1.{name}"))


ClientEvent, ServerEvent, WatchRequest, StateUpdate = map(
    message, ("ClientEvent", "ServerEvent", "WatchRequest", "StateUpdate")
)


def opened(role: str = "cat", **more: Any) -> Any:
    return ClientEvent(open={"role": role, **more})


def said(message: str, **more: Any) -> Any:
    return ClientEvent(message={"message": message, **more})


def cancel(response_id: str, **more: Any) -> Any:
    return ClientEvent(response_cancel={"response_id": response_id, **more})


def plain(event: Any) -> dict[str, Any]:
    """A ServerEvent as the same frame is in JSON, without what is null or an empty list there."""
    name = event.WhichOneof("event")
    envelope = {field: getattr(event, field) for field in ("session_id", "seq") if event.HasField(field)}
    return {"type": TYPES[name], "ts": event.ts, **envelope, **_plain(getattr(event, name))}


def _plain(said: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in said.DESCRIPTOR.fields:
        value = getattr(said, field.name)
        if field.has_presence and not said.HasField(field.name):
            continue
        if field.is_repeated:
            if value:
                found[field.name] = [_plain(one) if field.message_type else one for one in value]
        elif field.message_type:
            found[field.name] = _plain(value)
        else:
            found[field.name] = json.loads(value) if isinstance(value, bytes) else value
    return found


def bare(frame: Any) -> Any:
    """A frame in JSON without what is null or an empty list."""
    if isinstance(frame, dict):
        return {name: bare(value) for name, value in frame.items() if value is not None and value != []}
    return [bare(one) for one in frame] if isinstance(frame, list) else frame


class Talking:
    """One Converse."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.events: list[dict[str, Any]] = []

    async def send(self, *events: Any) -> None:
        for event in events:
            await self.call.write(event)

    async def next(self) -> dict[str, Any]:
        event = await self.call.read()
        assert event is not grpc.aio.EOF, await self.ending()
        self.events.append(plain(event))
        return self.events[-1]

    async def until(self, kind: str) -> dict[str, Any]:
        while (await self.next())["type"] != kind:
            pass
        return self.events[-1]

    async def rest(self) -> list[dict[str, Any]]:
        """Everything until the status."""
        try:
            while (event := await self.call.read()) is not grpc.aio.EOF:
                self.events.append(plain(event))
        except grpc.aio.AioRpcError:
            pass
        return self.events

    async def ending(self) -> tuple[str, str]:
        """The status, and our own code in the trailers."""
        return await ending(self.call)


async def ending(call: Any) -> tuple[str, str]:
    code = await call.code()
    return code.name, dict(await call.trailing_metadata() or ()).get("rolehost-code", "")


class Client:
    """On one connection."""

    def __init__(self, channel: Any, key: str) -> None:
        self.channel, self.key = channel, key

    def converse(
        self, *events: Any, metadata: Iterable[tuple[str, str]] | None = None, timeout: float | None = None
    ) -> Talking:
        """With events: they are all that is said. Without: say them by `send`."""
        call = self.channel.stream_stream(
            f"/{SERVICE}/Converse",
            request_serializer=lambda event: event if isinstance(event, bytes) else event.SerializeToString(),
            response_deserializer=ServerEvent.FromString,
        )(iter(events) if events else None, metadata=self._metadata(metadata), timeout=timeout)
        return Talking(call)

    def watch(self, session_id: str, after_version: int | None = None, role: str = "cat") -> Any:
        call = self.channel.unary_stream(
            f"/{SERVICE}/Watch",
            request_serializer=WatchRequest.SerializeToString,
            response_deserializer=StateUpdate.FromString,
        )
        asked = WatchRequest(role=role, session_id=session_id, after_version=after_version)
        return call(asked, metadata=self._metadata(None))

    def _metadata(self, given: Iterable[tuple[str, str]] | None) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"),) if given is None else tuple(given)


@asynccontextmanager
async def client(at: int | str, key: str, options: Iterable[tuple[str, Any]] = ()) -> AsyncIterator[Client]:
    # A pool of its own: else two tests would share a connection.
    own = ("grpc.use_local_subchannel_pool", 1)
    address = f"127.0.0.1:{at}" if isinstance(at, int) else at
    async with grpc.aio.insecure_channel(address, options=[own, *options]) as channel:
        yield Client(channel, key)
