"""gRPC clients that do as they like, against a gateway in a process of its own: statuses by the book, nothing left."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.rooms import ACME
from tests.support.rpc import SERVICE, Client, ClientEvent, client, opened, said
from tests.support.rpc_process import Served, served
from tests.support.talking import KEYS

KEY = KEYS[ACME]
GIB = 1 << 30
ROOM_KIB = 32 * 1024
"""By which the process may have grown afterwards: allocators keep what they had."""
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running
    assert running.log() == ""  # neither a bug of ours nor a line of the library's


@pytest.fixture
async def acme(process: Served) -> AsyncIterator[Client]:
    async with client(process.port, KEY, [("grpc.max_send_message_length", -1)]) as made:
        await answered(process, made)  # what is loaded once is loaded
        yield made


async def answered(process: Served, on: Client) -> None:
    """A whole turn, in a session of its own."""
    process.go()
    async with asyncio.timeout(30):
        events = await on.converse(opened(), said("hi")).rest()
    assert events[-1]["message"] == "Once."


async def test_a_message_of_a_gibibyte_is_refused_by_its_length(process: Served, acme: Client) -> None:
    before = process.peak_kib()
    talking = acme.converse()
    await talking.send(opened(session_id="s"))
    await talking.until("session.created")
    with suppress(grpc.aio.AioRpcError):
        await talking.send(bytes(GIB))
    assert (await talking.ending())[0] == "RESOURCE_EXHAUSTED"
    assert process.peak_kib() < before + ROOM_KIB
    await answered(process, acme)


async def test_a_small_message_that_is_large_is_not_unpacked(process: Served, acme: Client) -> None:
    """64 KiB of gzip may be 64 MiB of blanks."""

    def packed() -> str:
        """With the client that blocks, as below."""
        with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            call: Any = channel.stream_stream(f"/{SERVICE}/Converse")(
                iter([said(" " * 60_000).SerializeToString()]),
                metadata=(("authorization", f"Bearer {KEY}"),),
                compression=grpc.Compression.Gzip,
            )
            return str(call.code().name)

    before = process.peak_kib()
    assert await asyncio.to_thread(packed) == "UNIMPLEMENTED"
    assert process.peak_kib() < before + ROOM_KIB
    await answered(process, acme)


async def test_a_deadline_of_a_millisecond_ends_the_call(process: Served, acme: Client, tmp_path: Path) -> None:
    def hurried() -> set[str]:
        """With the client that blocks: the other one calls it INTERNAL where the end meets a write of its own."""
        ends = set()
        with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            grpc.channel_ready_future(channel).result(20)
            for number in range(60):
                call: Any = channel.stream_stream(f"/{SERVICE}/Converse")(
                    iter([opened(session_id=f"d{number}").SerializeToString(), said("hi").SerializeToString()]),
                    timeout=0.001 * (1 + number % 6),
                    metadata=(("authorization", f"Bearer {KEY}"),),
                )
                ends.add(call.code().name)
        return ends

    (tmp_path / "go").unlink()
    # Both sides have a clock: where the gateway's is a moment ahead, its reset comes before the client's own end.
    assert await asyncio.to_thread(hurried) <= {"DEADLINE_EXCEEDED", "CANCELLED"}
    await answered(process, acme)


async def test_unknown_fields_are_ignored_wherever_they_are(process: Served, acme: Client) -> None:
    unknown = b"\xfa\x3f\x03abc\xf8\x3f\x01"
    inner = said("hi", client_msg_id="c1").message.SerializeToString() + unknown
    whole = b"\x12" + bytes([len(inner)]) + inner + unknown
    process.go()
    events = await acme.converse(opened(session_id="s").SerializeToString() + unknown, whole).rest()
    assert (events[-1]["message"], events[-1]["client_msg_id"]) == ("Once.", "c1")


async def test_streams_that_are_opened_and_reset_leave_nothing(process: Served, acme: Client) -> None:
    async def flood(count: int) -> None:
        for _ in range(count):
            talking = acme.converse()
            for event in (opened(session_id="s"), ClientEvent(ping={"t": 1})):
                write = asyncio.ensure_future(talking.send(event))
                await asyncio.sleep(0)
                write.add_done_callback(lambda done: done.cancelled() or done.exception())
            talking.call.cancel()

    await asyncio.gather(*(flood(25) for _ in range(20)))  # the first round fills the allocator's pools
    await answered(process, acme)
    before = process.memory_kib()
    await asyncio.gather(*(flood(50) for _ in range(40)))
    await answered(process, acme)
    assert process.memory_kib() < before + ROOM_KIB


async def test_turns_of_calls_that_were_cancelled_go_on_and_none_is_orphaned(
    process: Served, acme: Client, tmp_path: Path
) -> None:
    (tmp_path / "go").unlink()
    calls = [acme.converse() for _ in range(20)]
    for number, talking in enumerate(calls):
        await talking.send(opened(session_id=f"s{number}"), said("hi"))
    for talking in calls:
        await talking.until("response.output_text.delta")
        talking.call.cancel()
    process.go()
    for number in range(20):
        async with asyncio.timeout(30):
            kept: list[Any] = []
            while not kept:
                events = await acme.converse(opened(session_id=f"s{number}", after_seq=0)).rest()
                kept = [event for event in events if event["type"] == "response.done"]
        assert [(event["seq"], event["message"]) for event in kept] == [(2, "Once.")]


async def test_who_never_reads_costs_a_bounded_amount(process: Served, acme: Client) -> None:
    """Pings are answered, and the answers are not read: the call is let go of, whatever is still said."""
    await answered(process, acme)
    before = process.memory_kib()
    small = [("grpc.http2.lookahead_bytes", 1 << 16), ("grpc.http2.bdp_probe", 0)]
    async with client(process.port, KEY, small) as slow:
        calls = [slow.converse() for _ in range(10)]
        wrong = b"\xff" * 16  # told of in some 200 bytes

        async def shout(talking: Any) -> None:
            await talking.send(opened())
            try:
                for _ in range(20_000):
                    await talking.send(wrong)
            except grpc.aio.AioRpcError:
                return

        await asyncio.wait([asyncio.ensure_future(shout(talking)) for talking in calls], timeout=60)
        assert process.memory_kib() < before + ROOM_KIB
        await answered(process, acme)
        for talking in calls:
            await talking.rest()
            assert await talking.ending() == ("RESOURCE_EXHAUSTED", "slow_client")
    assert process.memory_kib() < before + ROOM_KIB


async def test_metadata_are_bounded(process: Served, acme: Client) -> None:
    talking = acme.converse(metadata=[("authorization", f"Bearer {KEY}"), ("x-filling", "x" * 30_000)])
    assert (await talking.ending())[0] == "RESOURCE_EXHAUSTED"
    await answered(process, acme)


def test_what_is_no_http2_is_hung_up_on(process: Served) -> None:
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while raw.recv(4096):
            pass
