"""The client against a real Redis: groups, order, bounds, deadlines, what is refused."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from hiredis import Reader
from tests.integration.state.helpers import Talk, persistently, turn
from tests.support.proof import NUMBERS, keep
from tests.support.redis_fleet import DURABLE, Server

from rolehost_api.errors import Overloaded, RolehostError, Unavailable
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script

APPEND = Script("return redis.call('RPUSH', KEYS[1], ARGV[1])")
"""What is done in disorder shows."""
LOOK = Script("return redis.call('LRANGE', KEYS[1], 0, -1)")
"""It only reads."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "redis", *DURABLE)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def url(server: Server) -> str:
    return f"redis://{server.address}/0"


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    made = Client(parse(url), scripts=(APPEND,))
    yield made
    await made.close()


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisSessionStore]:
    made = RedisSessionStore.connect(url)
    yield made
    await made.close()


# ── one write for a tick ────────────────────────────────────────────────────────────


async def test_what_one_tick_asks_goes_out_in_one_write() -> None:
    chunks: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = Reader()
        while data := await reader.read(1 << 16):
            parser.feed(data)
            commands = []
            while (command := parser.gets()) is not False:
                commands.append(command)
            chunks.append(len(commands))
            writer.write(b"".join(b":%d\r\n" % int(c[1]) if c[0] == b"ECHO" else b"+OK\r\n" for c in commands))
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client(parse(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}"))
    try:
        assert await client.run("ECHO", 0) == 0
        chunks.clear()
        assert await asyncio.gather(*(client.run("ECHO", number) for number in range(200))) == list(range(200))
        assert chunks == [200]
    finally:
        await client.close()
        listener.close()


async def test_a_script_is_loaded_before_its_first_use_and_only_one_that_writes_waits_for_a_replica() -> None:
    """Each kind goes by its hash over a connection of its own, which was told every script's source once."""
    lanes: list[list[list[bytes]]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser, heard = Reader(), list[list[bytes]]()
        lanes.append(heard)
        while data := await reader.read(1 << 16):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                heard.append(command)
                writer.write(b":1\r\n" if command[0] in (b"WAIT", b"EVALSHA") else b"+OK\r\n")
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    target = parse(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}?replicas=1")
    client = Client(target, scripts=(APPEND, LOOK))
    try:
        for _ in range(3):
            assert await client.ask(LOOK, ("l",), ()) == 1
            assert await client.call(APPEND, ("l",), ("x",)) == 1
        looks, appends = [b"EVALSHA", LOOK.sha.encode()], [b"EVALSHA", APPEND.sha.encode()]
        reads, writes = lanes
        loads = [[b"SCRIPT", b"LOAD", script.source.encode()] for script in (APPEND, LOOK)]
        assert [reads[:2], writes[:2]] == [loads, loads]
        assert [command[:2] for command in reads[3:]] == [looks] * 3
        assert [command[:2] for command in writes[3:]] == [appends, [b"WAIT", b"1"]] * 3
    finally:
        await client.close()
        listener.close()


async def test_answers_are_matched_in_order_over_both_lanes(client: Client) -> None:
    asked = [client.run("ECHO", str(number)) for number in range(500)]
    pushed = [client.call(APPEND, ("list",), (number,), line=b"l") for number in range(50)]
    assert await asyncio.gather(*asked) == [str(number).encode() for number in range(500)]
    assert await asyncio.gather(*pushed) == list(range(1, 51))


async def test_who_does_not_wait_for_its_answer_disturbs_nobody(client: Client) -> None:
    impatient = [asyncio.ensure_future(client.call(APPEND, ("l",), (n,), line=b"l")) for n in range(50)]
    await asyncio.sleep(0)
    for one in impatient[::2]:
        one.cancel()
    assert await client.call(APPEND, ("l",), ("last",), line=b"l") > 25
    found = [value for value in await client.run("LRANGE", "l", 0, -1) if value != b"last"]
    assert found == sorted(found, key=int)


# ── order through SCRIPT FLUSH ──────────────────────────────────────────────────────


async def test_a_flush_of_scripts_under_load_reorders_no_sessions_writes(client: Client, server: Server) -> None:
    async def talk(number: int) -> None:
        key, line = f"s{number}", f"s{number}".encode()
        for group in range(20):
            await asyncio.gather(*(client.call(APPEND, (key,), (group * 10 + n,), line=line) for n in range(10)))

    async def flush() -> int:
        times = 0
        while not over.done():
            assert await client.run("SCRIPT", "FLUSH") == b"OK"
            times += 1
        return times

    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    flushing = asyncio.create_task(flush())
    await asyncio.gather(*(talk(number) for number in range(32)))
    over.set_result(None)
    assert await flushing > 20
    for number in range(32):
        assert await client.run("LRANGE", f"s{number}", 0, -1) == [b"%d" % n for n in range(200)]
    assert "cmdstat_eval:" in server.ask("info", "commandstats"), "no script was ever missing"


async def test_what_a_person_shares_is_read_by_the_scripts_hash_and_after_a_flush_too(
    store: RedisSessionStore, client: Client, server: Server
) -> None:
    for _ in range(20):
        assert await store.user("t", {}) == {}
    assert "cmdstat_eval:" not in server.ask("info", "commandstats"), "its source goes over the wire with every turn"
    await client.run("SCRIPT", "FLUSH")
    assert await store.user("t", {}) == {}
    assert "cmdstat_eval:calls=1," in server.ask("info", "commandstats")


async def test_a_flush_of_scripts_loses_no_turn(store: RedisSessionStore, client: Client) -> None:
    over: list[bool] = []
    talks = [Talk(store, f"k{number}") for number in range(16)]

    async def flush() -> None:
        for _ in range(100):
            await client.run("SCRIPT", "FLUSH")
        over.append(True)

    await asyncio.gather(flush(), *(talk.run(lambda: bool(over)) for talk in talks))
    for talk in talks:
        assert [record.turn for record in await store.read(talk.key)] == list(range(1, talk.acknowledged + 1))
        assert not talk.refused
        assert talk.acknowledged > 0


# ── bounds ──────────────────────────────────────────────────────────────────────────


async def test_what_waits_is_bounded_in_number_and_in_bytes(server: Server, url: str) -> None:
    small = Client(parse(url), scripts=(APPEND,), max_calls=100, max_bytes=50_000)
    try:
        assert await small.run("PING") == b"PONG"
        server.send(SIGSTOP)
        asked = [small.run("PING") for _ in range(150)]
        for one in asked[100:]:
            assert one.done(), "refused at once"
            with pytest.raises(Unavailable) as refused:
                one.result()
            assert refused.value.code == "state_overloaded"
        assert [str(one) for one in await asyncio.gather(*asked[:100], return_exceptions=True)] != []
        with pytest.raises(Unavailable, match="too much"):
            await small.call(APPEND, ("l",), (b"x" * 60_000,))
        server.send(SIGCONT)
        assert await small.run("PING") == b"PONG", "what failed takes no room any more"
        assert await small.run("LLEN", "l") == 0
    finally:
        await small.close()


# ── a Redis that is silent, or gone (F32) ───────────────────────────────────────────


@pytest.mark.timeout(90)
async def test_a_redis_that_stands_still_fails_everything_within_two_seconds_and_all_goes_on_afterwards(
    server: Server, store: RedisSessionStore
) -> None:
    over: list[bool] = []
    talks = [Talk(store, f"k{number}") for number in range(8)]
    talking = [asyncio.create_task(talk.run(lambda: bool(over))) for talk in talks]
    await asyncio.sleep(0.3)
    server.send(SIGSTOP)
    stopped_at = [talk.acknowledged for talk in talks]
    await asyncio.sleep(NUMBERS.redis_stopped_seconds)
    server.send(SIGCONT)
    while any(talk.acknowledged < before + 20 for talk, before in zip(talks, stopped_at, strict=True)):
        await asyncio.sleep(0.05)
    over.append(True)
    await asyncio.gather(*talking)
    refused = [code for talk in talks for code in talk.refused]
    assert set(refused) == {"state_unavailable"}
    # 2 s by the loop's clock; the rest is what a busy machine takes to run the loop at all.
    assert max(talk.slowest for talk in talks) < 3.0
    for talk in talks:
        assert [record.turn for record in await store.read(talk.key)] == list(range(1, talk.acknowledged + 1))
    keep("redis_stopped", {"seconds": NUMBERS.redis_stopped_seconds, "refused": len(refused)})


async def test_a_redis_that_is_killed_and_comes_back_keeps_what_it_acknowledged(
    server: Server, store: RedisSessionStore
) -> None:
    """F29 with appendfsync always."""
    over: list[bool] = []
    talks = [Talk(store, f"k{number}") for number in range(8)]
    talking = [asyncio.create_task(talk.run(lambda: bool(over))) for talk in talks]
    for _ in range(NUMBERS.redis_kills):
        await asyncio.sleep(0.3)
        before = [talk.acknowledged for talk in talks]
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        while any(talk.acknowledged < n + 5 for talk, n in zip(talks, before, strict=True)):
            await asyncio.sleep(0.05)
    over.append(True)
    await asyncio.gather(*talking)
    for talk in talks:
        assert [record.turn for record in await store.read(talk.key)] == list(range(1, talk.acknowledged + 1))


# ── what Redis refuses (F34) ────────────────────────────────────────────────────────


async def refused(store: RedisSessionStore) -> RolehostError:
    with pytest.raises(RolehostError) as found:
        await store.open("k2")
    return found.value


async def test_a_full_redis_refuses_at_once_loses_nothing_and_takes_more_when_it_has_room(
    server: Server, store: RedisSessionStore
) -> None:
    troubles: list[str] = []
    store._redis.noticed = troubles.append
    head, _ = await store.open("k")
    await store.commit("k", turn(head, 1))
    assert not troubles
    server.ask("config", "set", "maxmemory", "1")
    with pytest.raises(Overloaded) as full:
        await store.commit("k", turn(head, 2))
    assert (full.value.code, full.value.retryable) == ("state_full", True)
    assert troubles == ["OOM"]
    assert (await refused(store)).code == "state_full"
    server.ask("config", "set", "maxmemory", "64mb")
    await store.commit("k", turn(head, 2))
    assert len(await store.read("k")) == 2


async def test_a_redis_that_became_a_replica_is_said(server: Server, store: RedisSessionStore) -> None:
    await store.open("k")
    server.ask("replicaof", "127.0.0.1", "1")
    found = await refused(store)
    assert (found.code, found.retryable, "failing over" in found.message) == ("state_unavailable", True, True)
    server.ask("replicaof", "no", "one")
    await store.open("k2")


async def test_a_primary_without_the_replicas_that_it_must_have_takes_no_writes(
    server: Server, store: RedisSessionStore
) -> None:
    server.ask("config", "set", "min-replicas-to-write", "1")
    found = await refused(store)
    assert (found.code, "lacks replicas" in found.message) == ("state_unavailable", True)
    server.ask("config", "set", "min-replicas-to-write", "0")
    await store.open("k2")


async def test_somebody_elses_script_holds_things_up_for_two_seconds_only(
    server: Server, store: RedisSessionStore
) -> None:
    await store.open("k")
    server.ask("config", "set", "lua-time-limit", "50")
    endless = await asyncio.create_subprocess_exec(
        "redis-cli", "-p", str(server.port), "eval", "while true do end", "0", stdout=asyncio.subprocess.DEVNULL
    )
    while "BUSY" not in await asyncio.to_thread(server.ask, "ping"):
        await asyncio.sleep(0.02)
    found = await refused(store)
    assert (found.code, "holds up" in found.message) == ("state_unavailable", True)
    server.ask("script", "kill")
    await endless.wait()
    await store.open("k2")


async def test_a_redis_that_reads_its_data_is_waited_for(server: Server, store: RedisSessionStore) -> None:
    head, _ = await store.open("k")
    server.ask("eval", "for n = 1, 4000 do redis.call('set', 'other' .. n, n) end", "0")
    server.kill()
    server.launch("--key-load-delay", "500")  # µs
    while "LOADING" not in await asyncio.to_thread(server.ask, "ping"):
        assert await asyncio.to_thread(server.ask, "ping") != "PONG", "it was too quick"
    await persistently(lambda: store.commit("k", turn(head, 1)))
    assert len(await store.read("k")) == 1


async def test_a_wrong_password_is_told_at_once_and_is_not_worth_a_retry(server: Server, url: str) -> None:
    server.ask("acl", "setuser", "rolehost", "on", ">right", "~rh:*", "+@all")
    for password in ("wrong", ""):
        store = RedisSessionStore.connect(url.replace("://", "://rolehost@"), password)
        found = await refused(store)
        assert (found.code, found.retryable) == ("state_forbidden", False)
        assert "wrong" not in str(found)
        await store.close()


# ── ways to connect ─────────────────────────────────────────────────────────────────


async def test_user_database_and_name_are_said_on_every_connection(server: Server, url: str) -> None:
    server.ask("acl", "setuser", "rolehost", "on", ">right", "~*", "+@all")
    client = Client(parse(url.replace("://", "://rolehost@").replace("/0", "/3")), password="right", name="rolehost-x")
    try:
        info = (await client.run("CLIENT", "LIST")).decode()
        assert " name=rolehost-x " in info
        assert " db=3 " in info
        assert " user=rolehost " in info
    finally:
        await client.close()


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "1", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ),
        check=True,
        capture_output=True,
    )
    from tests.support.tls import tls_edge

    plain = Server(tmp_path / "redis", *DURABLE)
    plain.start()
    try:
        async with tls_edge(plain.port, certificate, key) as port:
            stranger = Client(parse(f"rediss://127.0.0.1:{port}"))
            with pytest.raises(Unavailable):
                await stranger.run("PING")
            await stranger.close()
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            assert ssl.get_default_verify_paths().cafile == str(certificate)
            client = Client(parse(f"rediss://127.0.0.1:{port}"), scripts=(APPEND,))
            assert await client.call(APPEND, ("l",), (1,)) == 1
            await client.close()
    finally:
        plain.stop()
