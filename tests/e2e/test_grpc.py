"""gRPC through the Service: the same session as on a socket, at whichever gateway a call comes out."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.cluster.relay import Relay
from tests.cluster.testing import PLATFORM, Cluster, Tenant
from tests.support.rpc import Client, client, opened, said

from rolehost_api import names

RUN = secrets.token_hex(4)
SESSION = f"grpc-{RUN}"


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> Iterator[str]:
    """host:port on the loopback that leads to gRPC on the gateway's Service."""
    service = cluster.get("service", "rolehost-gateway", "-n", PLATFORM)["spec"]["clusterIP"]
    with Relay(service, names.GRPC_PORT) as relay:
        yield f"{relay.host}:{relay.port}"


@pytest.fixture
async def calls(address: str, key: str) -> AsyncIterator[Client]:
    async with client(address, key) as made:
        yield made


async def test_a_session_goes_on_from_a_socket_to_a_call_and_back(cluster: Cluster, key: str, calls: Client) -> None:
    def over_a_socket(message: str) -> int:
        with cluster.talk("parrot", key, SESSION) as person:
            return int(person.say(message)["seq"])

    first = await asyncio.to_thread(over_a_socket, "one")
    events = await calls.converse(opened("parrot", session_id=SESSION, after_seq=0), said("two")).rest()
    ends = [event for event in events if event["type"] == "response.done"]
    assert [end["seq"] for end in ends] == [first, first + 1]
    assert "two" in ends[-1]["message"]
    assert await asyncio.to_thread(over_a_socket, "three") == first + 2


async def test_a_state_is_followed(calls: Client) -> None:
    session = f"{SESSION}-state"
    await calls.converse(opened("parrot", session_id=session), said("one")).rest()
    update = await calls.watch(session, role="parrot").read()
    assert [operation["path"] for operation in json.loads(update.patch)] == [""]


async def test_it_says_that_it_serves_and_to_strangers_nothing_else(
    cluster: Cluster, acme: Tenant, address: str
) -> None:
    async with client(address, "rh_0_wrong") as stranger:
        health: Any = health_pb2_grpc.HealthStub(stranger.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert await stranger.converse().ending() == ("UNAUTHENTICATED", "unauthorized")
        with cluster.tenant(f"other-{RUN}") as other:
            async with client(address, other.key("chat")) as elsewhere:
                talking = elsewhere.converse()
                await talking.send(opened("parrot", session_id=SESSION))
                assert await talking.ending() == ("NOT_FOUND", "role_not_found")
