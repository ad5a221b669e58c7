"""The chart's own Redis, run as its StatefulSet runs it: gateways' user can do what they need and nothing more (F38, F39)."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.chart.helm import Helm
from tests.integration.state.test_state_acl import rights, use
from tests.support.redis_fleet import Server

from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.broker.state.gauges import StoreGauges
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.broker.state.resp.address import Address
from rolehost_runtime.gateway.broker.state.resp.greeting import Greeting, ask
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import StoreFacts

PASSWORDS = {"REDISCLI_AUTH": "right", "REDIS_ADMIN": "chief"}
ADMIN = ("--user", "admin", "--pass", "chief", "--no-auth-warning")


def container(helm: Helm, *values: str) -> dict[str, Any]:
    objects = helm.template(*values)
    [found] = [one for one in objects if one["kind"] == "StatefulSet" and one["metadata"]["name"] == "rolehost-redis"]
    return dict(found["spec"]["template"]["spec"]["containers"][0])


def arguments(container: dict[str, Any]) -> list[str]:
    """As a kubelet hands them over: what is in $(…) is of the environment, or stays as it is."""
    known = {entry["name"]: PASSWORDS[entry["name"]] for entry in container["env"]}
    return [re.sub(r"\$\((\w+)\)", lambda name: known.get(name[1], name[0]), one) for one in container["args"]]


@pytest.fixture
def server(helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("REDISCLI_AUTH", PASSWORDS["REDISCLI_AUTH"])  # as the probes have it
    folder = tmp_path / "redis"
    given = [str(folder) if one == "/data" else one for one in arguments(container(helm))]
    made = Server(folder, *given)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisSessionStore]:
    made = RedisSessionStore.connect(f"redis://{server.address}/0", "right")
    yield made
    await made.close()


async def as_gateway(server: Server, *words: str) -> Any:
    return await ask(Address("127.0.0.1", server.port), Greeting(password="right"), *words)


async def test_gateways_can_do_all_that_they_need(server: Server) -> None:
    await use(server, user="", admin=ADMIN)
    assert server.ask(*ADMIN, "acl", "log") == "", "something was tried that is not allowed"


FORBIDDEN = [
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("CONFIG", "SET", "appendfsync", "no"),
    ("CONFIG", "REWRITE"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "LIST"),
    ("MOVE", "rh:x", "1"),
    ("COPY", "rh:x", "rh:y"),
    ("RENAME", "rh:x", "rh:y"),
    ("DUMP", "rh:x"),
    ("RESTORE", "rh:y", "0", "x"),
    ("OBJECT", "ENCODING", "rh:x"),
    ("SUBSCRIBE", "rh:x"),
    ("PSUBSCRIBE", "*"),
    ("PUBLISH", "rh:x", "y"),
    ("MONITOR",),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "default", "+@all"),
    ("SHUTDOWN", "NOSAVE"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("BGREWRITEAOF",),
    ("SCRIPT", "FLUSH"),
    ("MODULE", "LIST"),
    ("SWAPDB", "0", "1"),
    ("LATENCY", "RESET"),
    ("SLOWLOG", "GET"),
    ("MIGRATE", "127.0.0.1", "1", "rh:x", "0", "10"),
    ("HGET", "other", "field"),
    ("HSET", "other", "field", "1"),
    ("XADD", "other", "*", "field", "1"),
    ("EVAL", "return redis.call('KEYS', '*')", "0"),
    ("EVAL", "return redis.call('HGETALL', 'other')", "0"),
    ("EVAL", "return redis.call('HSET', KEYS[1], 'a', 1)", "1", "other"),
]


async def test_gateways_can_do_nothing_else_and_every_try_is_counted(server: Server, store: RedisSessionStore) -> None:
    for words in FORBIDDEN:
        before = (await store.facts()).denied
        server.ask(*ADMIN, "acl", "log", "reset")
        with pytest.raises(Refusal, match=r"NOPERM|The user executing the script can't|can't run this command"):
            await as_gateway(server, *words)
        assert server.ask(*ADMIN, "acl", "log") != "", words
        if words[0] != "EVAL":  # what a script met with is in the log, and only newer ones count it
            assert (await store.facts()).denied == before + 1, words


async def test_a_wrong_password_is_counted_too_and_prometheus_is_told(server: Server, store: RedisSessionStore) -> None:
    with pytest.raises(Refusal, match="WRONGPASS"):
        await ask(Address("127.0.0.1", server.port), Greeting(password="guessed"), "PING")
    metrics, told = Metrics(), asyncio.Event()

    def tell(facts: StoreFacts) -> None:
        metrics.store(facts)
        told.set()

    feed = asyncio.create_task(StoreGauges(store.facts, tell).run())
    await asyncio.wait_for(told.wait(), 10)
    feed.cancel()
    value = metrics.registry.get_sample_value
    assert (value("rolehost_store_denied") or 0) >= 1
    assert value("rolehost_store_max_bytes") == 256 << 20
    assert (value("rolehost_store_used_bytes") or 0) > 0


def user(server: Server, name: str) -> str:
    return server.ask(*ADMIN, "acl", "getuser", name)


def test_rights_that_are_told_again_leave_nothing_of_the_old_ones(helm: Helm, server: Server) -> None:
    """ACL SETUSER adds to what is there: without `reset` a pattern that is gone from the chart would stay."""
    given = arguments(container(helm))
    at = given.index("default")
    rules = given[at + 1 : given.index("--user", at)]
    assert rules[0] == "reset"
    fresh = user(server, "default")
    wider = ("~app:*", "&*", "+@all", ">old", "~more:*")
    assert server.ask(*ADMIN, "acl", "setuser", "default", *wider) == "OK"
    assert user(server, "default") != fresh
    assert server.ask(*ADMIN, "acl", "setuser", "default", *rules) == "OK"
    assert user(server, "default") == fresh
    assert "NOPERM" in server.ask("get", "more:x")
    assert "WRONGPASS" in server.ask("auth", "old")


async def test_rights_that_shrink_hold_for_connections_that_stand(server: Server, store: RedisSessionStore) -> None:
    """And a user that is removed has none any more: its connections are ended, and no retry hammers on."""
    await store.open("k")
    assert server.ask(*ADMIN, "acl", "setuser", "default", "-evalsha") == "OK"
    with pytest.raises(Unavailable) as told:
        await store.open("k")
    assert (told.value.code, told.value.retryable) == ("state_forbidden", False)
    assert server.ask(*ADMIN, "acl", "setuser", "gone", *rights("rolehost")) == "OK"
    troubles: list[str] = []
    theirs = RedisSessionStore.connect(f"redis://gone@{server.address}", "right", noticed=troubles.append)
    await theirs.open("k")
    assert server.ask(*ADMIN, "acl", "deluser", "gone") == "1"
    with pytest.raises(Unavailable) as told:
        await theirs.open("k")
    assert (told.value.code, told.value.retryable) == ("state_forbidden", False)
    assert "WRONGPASS" in troubles
    await theirs.close()


def test_the_rights_are_those_of_the_guide(helm: Helm) -> None:
    """Two users of one platform: what a gateway begins to need is written into both."""
    given = arguments(container(helm))
    at = given.index("default")
    assert given[at + 1 : given.index("--user", at)] == rights("rolehost")


def test_who_brings_a_password_of_its_own_gets_no_other_user(helm: Helm) -> None:
    found = container(helm, "--set", "redis.existingSecret=mine")
    assert arguments(found).count("--user") == 1
    assert [entry["name"] for entry in found["env"]] == ["REDISCLI_AUTH"]


def test_the_password_of_people_is_no_gateways(helm: Helm) -> None:
    [gateway] = [
        one for one in helm.template() if (one["kind"], one["metadata"]["name"]) == ("Deployment", "rolehost-gateway")
    ]
    assert "REDIS_ADMIN" not in str(gateway)
    assert "key: admin" not in str(gateway)
