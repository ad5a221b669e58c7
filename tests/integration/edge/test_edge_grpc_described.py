"""What the port says of itself: reflection as grpcurl asks for it, and health as load balancers do."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.support import rpc
from tests.support.rooms import ACME
from tests.support.rpc import client, ending, opened
from tests.support.talking import KEYS, Talkers

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers(grpc=True) as running:
        yield running


@pytest.fixture
async def channel(house: Talkers) -> AsyncIterator[Any]:
    async with client(house.grpc.port, "") as made:
        yield made.channel


async def asked(channel: Any, **question: Any) -> Any:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**question)]))
    return await call.read()


async def test_services_are_listed(channel: Any) -> None:
    answer = await asked(channel, list_services="")
    assert sorted(one.name for one in answer.list_services_response.service) == [
        "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "rolehost.v1.RoleSession",
    ]  # fmt: skip


async def test_what_is_described_is_what_is_published(channel: Any) -> None:
    answer = await asked(channel, file_containing_symbol=rpc.SERVICE)
    [data] = answer.file_descriptor_response.file_descriptor_proto
    assert descriptor_pb2.FileDescriptorProto.FromString(data) == rpc.compiled()


async def test_a_client_that_knows_nothing_but_the_port_can_talk(house: Talkers, channel: Any) -> None:
    """As grpcurl does: the service is described, messages are built of that, JSON goes in and comes out."""
    [data] = (await asked(channel, file_containing_symbol=rpc.SERVICE)).file_descriptor_response.file_descriptor_proto
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(data)
    method = pool.FindServiceByName(rpc.SERVICE).FindMethodByName("Converse")
    said, heard = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    written = [{"open": {"role": "cat"}}, {"message": {"message": "hi", "sessionId": "s"}}]
    call = channel.stream_stream(f"/{rpc.SERVICE}/{method.name}", response_deserializer=heard.FromString)(
        iter([json_format.ParseDict(one, said()).SerializeToString() for one in written]),
        metadata=(("authorization", f"Bearer {KEYS[ACME]}"),),
    )
    events = [json_format.MessageToDict(event) async for event in call]
    assert (events[-1]["responseDone"]["message"], events[-1]["seq"]) == ("You said hi.", "2")
    [changed] = [event["roleStateDelta"] for event in events if "roleStateDelta" in event]
    assert changed["patch"][0]["path"] == "/turns"


async def test_healths_are_those_of_readyz(house: Talkers, channel: Any) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)

    async def told() -> list[int]:
        return [(await health.Check(health_pb2.HealthCheckRequest(service=name))).status for name in ("", rpc.SERVICE)]

    assert await told() == [SERVING, SERVING]
    house.tables.pods.filled = False
    assert await told() == [NOT_SERVING, NOT_SERVING]
    house.tables.pods.filled = True
    house.hub.draining = True
    assert await told() == [NOT_SERVING, NOT_SERVING]


async def test_no_health_is_known_of_other_services(channel: Any) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    call = health.Check(health_pb2.HealthCheckRequest(service="other"))
    assert (await ending(call))[0] == "NOT_FOUND"


async def test_who_watches_the_health_is_told_of_its_change(house: Talkers, channel: Any) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    watching = health.Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(20):
        assert (await watching.read()).status == SERVING
        house.hub.draining = True
        assert (await watching.read()).status == NOT_SERVING
    watching.cancel()


async def test_who_needs_no_key_holds_no_call_for_ever(channel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.edge.grpc.reflection.SECONDS", 0.1)
    monkeypatch.setattr("rolehost_runtime.gateway.edge.grpc.health.WATCHERS", 1)
    reflecting: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    assert (await ending(reflecting.ServerReflectionInfo()))[0] == "DEADLINE_EXCEEDED"
    health: Any = health_pb2_grpc.HealthStub(channel)
    first = health.Watch(health_pb2.HealthCheckRequest())
    assert (await first.read()).status == SERVING
    assert (await ending(health.Watch(health_pb2.HealthCheckRequest())))[0] == "RESOURCE_EXHAUSTED"
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
    first.cancel()


async def test_calls_are_counted_by_their_status(house: Talkers) -> None:
    async with client(house.grpc.port, KEYS[ACME]) as acme, client(house.grpc.port, "bad") as stranger:
        await acme.converse(opened()).rest()
        await stranger.converse().rest()
        await acme.watch("nowhere").code()

    def count(rpc: str, status: str) -> float | None:
        return house.metrics.registry.get_sample_value(
            "rolehost_gateway_grpc_calls_total", {"rpc": rpc, "status": status}
        )

    async with asyncio.timeout(10):  # a client hears of its end a moment before it is counted
        while (count("Converse", "OK"), count("Converse", "UNAUTHENTICATED"), count("Watch", "NOT_FOUND")) != (1, 1, 1):
            await asyncio.sleep(0.01)
    assert house.metrics.registry.get_sample_value("rolehost_gateway_grpc_open_calls") == 0
