"""A Redis that others use too (F38): the rights that docs/operating.md lists are enough, and others see nothing of ours."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.integration.state.helpers import turn
from tests.support.redis_fleet import DURABLE, Server

from rolehost_api.link.messages import PatchOp
from rolehost_api.wire import ForkedFrom
from rolehost_runtime.core.lapse import Active
from rolehost_runtime.core.memory.atoms import Atom, Changes, atoms_of
from rolehost_runtime.core.snapshot import Snapshot
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.broker.state.redis_tables import RedisLastGood
from rolehost_runtime.gateway.broker.state.resp.address import Address
from rolehost_runtime.gateway.broker.state.resp.greeting import Greeting, ask
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal
from rolehost_runtime.gateway.kept import Beginning, Whose
from rolehost_runtime.gateway.ports import Head, Place, Shared

GUIDE = Path(__file__).parents[3] / "docs" / "operating.md"
SECRET = "a-dragon"


def rights(user: str) -> list[str]:
    """The rules of the guide's line `ACL SETUSER <user> …`."""
    [rules] = re.findall(rf"^ACL SETUSER {user} (.+)$", GUIDE.read_text(), re.MULTILINE)
    return str(rules).replace("…", "right").split()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "redis", *DURABLE)
    made.start()
    for user in ("rolehost", "app"):
        assert made.ask("acl", "setuser", user, *rights(user)) == "OK"
    yield made
    made.stop()


async def as_user(server: Server, user: str, *command: str) -> Any:
    return await ask(Address("127.0.0.1", server.port), Greeting(user=user, password="right"), *command)


async def use(server: Server, user: str = "rolehost@", admin: tuple[str, ...] = ()) -> None:
    """All that a gateway ever asks of Redis."""
    url = f"redis://{user}{server.address}"
    store, tables = RedisSessionStore.connect(f"{url}?replicas=0", "right"), RedisLastGood.connect(url, "right")
    assert await store.answers()
    head, _ = await store.open("k")
    await store.commit("k", turn(head, 1, SECRET))
    await store.commit("k", turn(head, 1, SECRET))
    head, records = await store.open("k")
    named = await store.rename("k", head)
    await store.commit("k", turn(named, 2, SECRET))
    await snapshots(server, store, named)
    await memories(store)
    assert [record.reply for record in records] == [SECRET]
    there = await store.head("k")
    assert there is not None
    assert (there.seq, len(await store.page("k", (1, 0), 9))) == (2, 2)
    assert await store.fence("k") is not None
    log, there = store.shortened, await store.head("k")
    assert there is not None
    assert len(await log.entries("k", (1, 0), 9)) == 2
    assert await log.shorten("k", there.log_id, there.epoch, (1, 0), (1, 0), f"u/k/k/l/1-1.0-1.0-{32 * 'a'}")
    assert await log.shelved("k", (1, 0)) is not None
    anne = Whose("uid-acme", "cat", "anne")
    await store.enlist(anne, "s", 1, Active(1, 60))
    many, rows = await store.sample("uid-acme", "cat", 9)
    assert (many, await store.activity("uid-acme", "cat", rows)) == (1, [Active(1, 60)])
    assert await store.log_bytes("k") > 0
    assert (await store.memory())[0] > 0
    assert await store.claim("uid-acme", "cat", 60)
    assert await store.user("k", {}, 60) == {}
    assert [row.session_id for row in await store.rows("uid-acme", "cat", None, None, 9)] == ["s"]
    await store.draft("copy", await store.read("k"))
    await store.found("copy", Beginning("log", 9, 2, 2, 0, "", 1, 0, ForkedFrom("s", 2)))
    assert await store.forget("copy", "receipt") is not None
    assert await store.forget("nothing", "receipt") is None
    await store.keep_receipt("receipt", b"what was deleted")
    assert await store.receipt("receipt") == b"what was deleted"
    await store.delist(anne, "s")
    assert (await store.facts()).appendfsync in ("", "always")
    assert await tables.keep("pods", Place(1, 1, 1), SECRET.encode())
    assert await tables.read("pods") == (Place(1, 1, 1), SECRET.encode())
    assert list(await tables.places()) == ["pods"]
    assert server.ask(*admin, "script", "flush") == "OK"
    await store.open("k")
    await store.close()
    await tables.close()


async def memories(store: RedisSessionStore) -> None:
    """A turn that remembers and changes what a person's sessions share; both are read, corrected and deleted."""
    head, _ = await store.open("m:s")
    atom = Atom(id="a1", text=SECRET, at_ms=1)
    patch = (PatchOp("replace", "/secret", SECRET),)
    record = replace(turn(head, 1, SECRET), atoms=(atom,), user_patch=patch, seq_count=3)
    assert await store.commit("m:s", record) == Shared(version=1, memory=1)
    assert atoms_of(await store.memories("m:t", {})) == [atom]
    assert await store.change_memories("m:s", Changes(forgotten=("a1",), at_ms=2)) == 1
    assert await store.change_memories("other:s", Changes(added=(atom,))) == 0
    assert await store.drop_memories("other:s") == 1
    assert await store.forget_user("m") > 0


async def snapshots(server: Server, store: RedisSessionStore, head: Head) -> None:
    """Two of them are kept and read, and a broken one is set aside."""
    for number in (1, 2):
        made = Snapshot(
            log_id=head.log_id, epoch=head.epoch, turn=number, seq=number, version=0, at_ms=number, revision="cat-1",
            state={"secret": SECRET}, response_id=f"r{number}", past_from=number,
        )  # fmt: skip
        assert await store.keep("k", made)
    assert await store.covered("k") is not None
    server.ask("hset", "rh:{k}:k:snap", "2", "1 00000000 broken")
    kept = await store.kept("k")
    assert kept is not None
    assert kept.snapshot.turn == 1
    assert server.ask("hkeys", "rh:{k}:k:quarantine") == "snap:2"


async def test_the_rights_of_the_guide_are_enough(server: Server) -> None:
    await use(server)
    assert server.ask("acl", "log") == "", "something was tried that is not allowed"


HEAD = "rh:{k}:k:head"
REFUSED = "NOPERM|The user executing the script can't"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("HGETALL", HEAD), id="read"),
        pytest.param(("XRANGE", "rh:{k}:k:wal", "-", "+"), id="read-the-log"),
        pytest.param(("HSET", HEAD, "owner", "me"), id="write"),
        pytest.param(("DEL", HEAD), id="delete"),
        pytest.param(("EXISTS", HEAD), id="ask-whether-it-is-there"),
        pytest.param(("TYPE", HEAD), id="ask-what-it-is"),
        pytest.param(("COPY", HEAD, "app:x"), id="copy"),
        pytest.param(("RENAME", HEAD, "app:x"), id="rename"),
        pytest.param(("MOVE", HEAD, "1"), id="move"),
        pytest.param(("DUMP", HEAD), id="dump"),
        pytest.param(("EVAL", f"return redis.call('HGETALL', '{HEAD}')", "0"), id="by-script"),
        pytest.param(("EVAL", "return redis.call('HGETALL', KEYS[1])", "1", HEAD), id="by-script-with-its-key"),
        pytest.param(("KEYS", "*"), id="names"),
        pytest.param(("SCAN", "0"), id="names-bit-by-bit"),
        pytest.param(("RANDOMKEY",), id="names-by-chance"),
        pytest.param(("SUBSCRIBE", "__keyspace@0__:rh:{k}:k:head"), id="listen"),
        pytest.param(("PSUBSCRIBE", "*"), id="listen-to-all"),
        pytest.param(("MONITOR",), id="watch"),
        pytest.param(("CLIENT", "LIST"), id="who-is-there"),
        pytest.param(("SLOWLOG", "GET"), id="what-was-slow"),
        pytest.param(("CONFIG", "GET", "*"), id="settings"),
        pytest.param(("ACL", "LIST"), id="users"),
        pytest.param(("FLUSHALL",), id="flush"),
        pytest.param(("REPLICAOF", "NO", "ONE"), id="rule"),
    ],
)
async def test_another_user_sees_and_changes_nothing(server: Server, command: tuple[str, ...]) -> None:
    await use(server)
    before = server.ask("hgetall", HEAD)
    assert await as_user(server, "app", "set", "app:mine", "1") == b"OK"
    with pytest.raises(Refusal, match=REFUSED):
        await as_user(server, "app", *command)
    assert server.ask("hgetall", HEAD) == before


@pytest.mark.parametrize(
    "command", [("GET", "app:theirs"), ("HGET", "app:theirs", "x"), ("KEYS", "*"), ("FLUSHALL",), ("CLIENT", "LIST")]
)
async def test_the_platform_sees_nothing_of_others(server: Server, command: tuple[str, ...]) -> None:
    server.ask("set", "app:theirs", "1")
    with pytest.raises(Refusal, match=REFUSED):
        await as_user(server, "rolehost", *command)
