"""Kept sessions over HTTP: who may list, fork, export and forget which. A real port, real sessions, a log in memory."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from tests.support.rooms import ACME, EVIL
from tests.support.rpc import client, ending, opened
from tests.support.talking import KEYS, USER_KEY, Talkers, add_key
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.tables import Scope

ROOT = "/v1/roles/cat"
SECRET = "the password is swordfish"
EVIL_USER_KEY = "rh_8_evil"


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers() as running:
        add_key(running.tables, EVIL_USER_KEY, EVIL, Scope.CHAT, Scope.ACT_AS_USER)
        yield running


async def ask(house: Talkers, method: str, path: str, key: str, body: Any = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, house.url + path, headers=headers, json=body) as got,
    ):
        raw = await got.read()
        return got.status, json.loads(raw) if got.content_type == "application/json" else raw


async def say(house: Talkers, key: str, session_id: str, message: str, user: str | None = None) -> None:
    body = {"message": message, "session_id": session_id} | ({"user": user} if user else {})
    assert (await ask(house, "POST", "/role/cat", key, body))[0] == 200


async def token(house: Talkers, user: str) -> str:
    return str((await ask(house, "POST", "/v1/tokens", USER_KEY, {"user": user}))[1]["token"])


async def ids(house: Talkers, key: str, query: str = "") -> list[str]:
    status, answer = await ask(house, "GET", f"{ROOT}/sessions{query}", key)
    assert status == 200, answer
    return [row["session_id"] for row in answer["sessions"]]


async def test_everybody_sees_their_own_in_a_list(house: Talkers) -> None:
    await say(house, USER_KEY, "of-u17", "hi", "u-17")
    await say(house, USER_KEY, "of-u18", "hi", "u-18")
    await say(house, KEYS[ACME], "own", "hi")
    await say(house, KEYS[EVIL], "evil", "hi")
    u17 = await token(house, "u-17")
    assert await ids(house, u17) == await ids(house, u17, "?user=u-18") == ["of-u17"]
    assert await ids(house, KEYS[ACME]) == ["own"]
    assert await ids(house, USER_KEY, "?user=u-18") == ["of-u18"]
    assert sorted(await ids(house, USER_KEY)) == ["of-u17", "of-u18", "own"]
    assert await ids(house, EVIL_USER_KEY) == await ids(house, KEYS[EVIL]) == ["evil"]
    assert await ids(house, EVIL_USER_KEY, "?user=u-17") == []
    assert (await ask(house, "GET", f"{ROOT}/sessions?user=u-17", KEYS[ACME]))[0] == 403


async def test_a_list_goes_on_where_the_page_before_ended(house: Talkers) -> None:
    for number in range(3):
        await say(house, KEYS[ACME], f"s{number}", "hi")
        house.clock.now_ms += 1
    _, first = await ask(house, "GET", f"{ROOT}/sessions?limit=2", KEYS[ACME])
    _, rest = await ask(house, "GET", f"{ROOT}/sessions?limit=2&after={first['after']}", KEYS[ACME])
    assert [row["session_id"] for row in first["sessions"]] == ["s2", "s1"]
    assert ([row["session_id"] for row in rest["sessions"]], rest["after"]) == (["s0"], "")


async def test_where_a_session_stands_is_told_without_its_words(house: Talkers) -> None:
    await say(house, KEYS[ACME], "s", SECRET)
    status, told = await ask(house, "GET", f"{ROOT}/sessions/s", KEYS[ACME])
    assert status == 200
    assert (told["turns"], told["seq"], told["version"], told["open_turn"], told["answered_here"]) == (
        1,
        2,
        1,
        None,
        True,
    )
    assert "swordfish" not in json.dumps(told)


async def test_a_fork_is_there_to_be_talked_to(house: Talkers) -> None:
    await say(house, KEYS[ACME], "s", "one")
    await say(house, KEYS[ACME], "s", "two")
    status, made = await ask(house, "POST", f"{ROOT}/sessions/s/fork", KEYS[ACME], {"at_seq": 2})
    assert (status, made["forked_from"]) == (200, {"session_id": "s", "at_seq": 2})
    fresh = made["session_id"]
    url = f"{house.ws}/role/cat?session_id={fresh}&after_seq=0"
    async with connect(url, additional_headers={"Authorization": f"Bearer {KEYS[ACME]}"}, proxy=None) as socket:
        created = json.loads(await socket.recv())
        assert (created["head"], created["forked_from"]) == (2, made["forked_from"])
        await socket.send('{"message": "again"}')
        async with asyncio.timeout(10):
            while (event := json.loads(await socket.recv())).get("seq") != 4:
                continue
    assert event["message"] == "Before: one"
    assert (await ask(house, "GET", f"{ROOT}/sessions/s", KEYS[ACME]))[1]["turns"] == 2
    assert (await ask(house, "POST", f"{ROOT}/sessions/s/fork", KEYS[ACME]))[0] == 200, "without a body: its last event"


async def test_what_is_forgotten_closes_its_sockets_and_begins_anew(house: Talkers) -> None:
    await say(house, KEYS[ACME], "s", SECRET)
    url, headers = f"{house.ws}/role/cat?session_id=s", {"Authorization": f"Bearer {KEYS[ACME]}"}
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        await socket.recv()
        status, receipt = await ask(house, "DELETE", f"{ROOT}/sessions/s", KEYS[ACME])
        assert (status, receipt["deleted"], receipt["sessions"]) == (200, {"records": 1}, 1)
        said = json.loads(await socket.recv())
        assert (said["error"]["code"], said["session_id"], said["seq"]) == ("session_forgotten", "s", None)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4404, "session_forgotten")
    assert (await ask(house, "GET", f"{ROOT}/sessions/s/events", KEYS[ACME]))[0] == 404
    assert await ask(house, "DELETE", f"{ROOT}/sessions/s", KEYS[ACME]) == (200, receipt)
    assert await ask(house, "GET", f"/v1/forgotten/{receipt['receipt']}", KEYS[ACME]) == (200, receipt)
    assert "swordfish" not in json.dumps(receipt) + repr(house.store.shelf)
    await say(house, KEYS[ACME], "s", "again")
    assert (await ask(house, "GET", f"{ROOT}/sessions/s", KEYS[ACME]))[1]["seq"] == 2


async def test_an_event_stream_ends_with_its_session(house: Talkers) -> None:
    await say(house, KEYS[ACME], "s", SECRET)
    headers = {"Authorization": f"Bearer {KEYS[ACME]}", "Accept": "text/event-stream"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{house.url}/role/cat?session_id=s", headers=headers) as stream,
    ):
        assert stream.status == 200
        await stream.content.readany()
        await ask(house, "DELETE", f"{ROOT}/sessions/s", KEYS[ACME])
        rest = (await asyncio.wait_for(stream.content.read(), 10)).decode()
    assert "session_forgotten" in rest


async def test_a_user_forgets_and_takes_away_all_that_is_theirs_and_no_more(house: Talkers) -> None:
    u17, u18 = await token(house, "u-17"), await token(house, "u-18")
    for key, sid, text in ((u17, "a", SECRET), (u17, "b", SECRET), (u18, "a", "kept")):
        await say(house, key, sid, text)
    for method, path in (("DELETE", f"{ROOT}/users/u-17"), ("GET", f"{ROOT}/users/u-17/export")):
        for key in (u18, KEYS[ACME]):
            status, told = await ask(house, method, path, key)
            assert (status, told["error"]["code"]) == (403, "user_not_allowed")
        assert (await ask(house, method, path, ""))[0] == 401
    _, raw = await ask(house, "GET", f"{ROOT}/users/u-17/export", u17)
    lines = [json.loads(line) for line in raw.splitlines()]
    assert [line["kind"] for line in lines] == [
        "begin", "shared", "session", "turn", "session", "turn", "end",
    ]  # fmt: skip
    assert [line["input"] for line in lines if line["kind"] == "turn"] == [SECRET, SECRET]
    _, elsewhere = await ask(house, "GET", f"{ROOT}/users/u-17/export", EVIL_USER_KEY)
    assert [json.loads(line)["kind"] for line in elsewhere.splitlines()] == ["begin", "shared", "end"], (
        "another tenant's u-17"
    )
    await ask(house, "DELETE", f"{ROOT}/users/u-17", EVIL_USER_KEY)
    assert len(await ids(house, u17)) == 2
    status, receipt = await ask(house, "DELETE", f"{ROOT}/users/u-17", u17)
    assert (status, receipt["sessions"], receipt["deleted"]) == (200, 2, {"records": 2})
    assert (await ask(house, "GET", f"/v1/forgotten/{receipt['receipt']}", u18))[0] == 404
    assert (await ask(house, "GET", f"/v1/forgotten/{receipt['receipt']}", USER_KEY))[1] == receipt
    assert (await ids(house, u17), await ids(house, u18)) == ([], ["a"])
    assert "swordfish" not in repr(house.store.shelf)


@pytest.mark.parametrize("whose", ["another-user", "acted-for", "the-tenant", "another-tenant"])
async def test_nobody_touches_anothers_session(house: Talkers, whose: str) -> None:
    await say(house, USER_KEY, "s", SECRET, "u-17")
    key, query = {
        "another-user": (await token(house, "u-18"), "?user=u-17"),
        "acted-for": (USER_KEY, "?user=u-18"),
        "the-tenant": (KEYS[ACME], ""),
        "another-tenant": (EVIL_USER_KEY, "?user=u-17"),
    }[whose]
    for method, path in (
        ("GET", "/sessions/s"),
        ("GET", "/sessions/s/export"),
        ("POST", "/sessions/s/fork"),
        ("DELETE", "/sessions/s"),
    ):
        status, told = await ask(house, method, f"{ROOT}{path}{query}", key)
        assert (status, told["error"]["code"]) == (404, "session_not_found"), path
    assert await ids(house, USER_KEY, "?user=u-17") == ["s"]


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/sessions?limit=0", None, "invalid_limit"),
        ("GET", "/sessions?limit=201", None, "invalid_limit"),
        ("GET", "/sessions?after=%21", None, "invalid_after"),
        ("POST", "/sessions/s/fork", {"at_seq": 1}, "at_seq_inside_a_turn"),
        ("POST", "/sessions/s/fork", {"at_seq": -1}, "invalid_at_seq"),
        ("POST", "/sessions/s/fork", {"at": 1}, "invalid_request"),
        ("POST", "/sessions/s/fork", {"at_seq": "x" * 5000}, "invalid_request"),
        ("DELETE", "/users/%20", None, "invalid_user"),
    ],
)
async def test_bad_questions_are_refused(house: Talkers, method: str, path: str, body: Any, code: str) -> None:
    await say(house, KEYS[ACME], "s", "one")
    status, told = await ask(house, method, ROOT + path, USER_KEY if "users" in path else KEYS[ACME], body)
    assert (status, told["error"]["code"]) == (400, code)


async def test_a_key_that_may_not_chat_may_none_of_it(house: Talkers) -> None:
    add_key(house.tables, "rh_9_acme", ACME, Scope.PUSH)
    for method, path in (
        ("GET", f"{ROOT}/sessions"),
        ("GET", f"{ROOT}/sessions/s"),
        ("DELETE", f"{ROOT}/sessions/s"),
        ("DELETE", f"{ROOT}/users/u-17"),
        ("GET", f"{ROOT}/users/u-17/export"),
        ("GET", "/v1/forgotten/f-1"),
    ):
        assert (await ask(house, method, path, "rh_9_acme"))[0] == 403, path


async def test_what_was_done_is_counted_and_noted_without_a_word_of_whom(
    house: Talkers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rolehost.audit")
    await say(house, USER_KEY, "s-7", SECRET, "u-17")
    await ask(house, "POST", f"{ROOT}/sessions/s-7/fork?user=u-17", USER_KEY)
    await ask(house, "GET", f"{ROOT}/sessions/s-7/export?user=u-17", USER_KEY)
    await ask(house, "DELETE", f"{ROOT}/sessions/s-7?user=u-17", USER_KEY)
    await ask(house, "DELETE", f"{ROOT}/sessions/never?user=u-17", USER_KEY)
    await ask(house, "DELETE", f"{ROOT}/users/u-17", USER_KEY)
    lines = [record.getMessage() for record in caplog.records if record.name == "rolehost.audit"]
    assert [(line.split()[0], line.rpartition("=")[2]) for line in lines] == [
        ("fork", "ok"), ("export", "ok"), ("forget", "ok"), ("forget", "session_not_found"), ("forget_user", "ok"),
    ]  # fmt: skip
    assert all("tenant=acme" in line for line in lines)
    assert not any(word in line for line in lines for word in ("s-7", "u-17", "swordfish"))
    counted = house.metrics.registry.get_sample_value
    assert counted("rolehost_gateway_kept_sessions_total", {"what": "forget", "outcome": "ok"}) == 1


async def test_a_long_export_is_not_held_in_memory(house: Talkers) -> None:
    for number in range(12):
        await house.say("s", str(number))
    lines = house.service.kept.export("acme", Whose(ACME.uid, "cat"), "s")
    before = house.store.read_by_page
    for _ in range(3):
        await anext(lines)
    assert house.store.read_by_page - before <= 4, "no more was read than one page"
    await lines.aclose()  # type: ignore[attr-defined]


async def test_calls_and_waiting_questions_end_with_their_session() -> None:
    async with Talkers(grpc=True) as house, client(house.grpc.port, KEYS[ACME]) as acme:
        await say(house, KEYS[ACME], "s", SECRET)
        talking, watching = acme.converse(), acme.watch("s")
        await talking.send(opened(session_id="s"))
        await talking.until("session.created")
        await watching.read()
        waiting = asyncio.create_task(ask(house, "GET", f"{ROOT}/sessions/s/events?after_seq=2&wait=30", KEYS[ACME]))
        async with asyncio.timeout(10):
            while house.hub.sockets < 3:
                await asyncio.sleep(0.001)
        await ask(house, "DELETE", f"{ROOT}/sessions/s", KEYS[ACME])
        assert [event["type"] for event in await talking.rest()][-1] == "error"
        assert await talking.ending() == await ending(watching) == ("NOT_FOUND", "session_forgotten")
        status, told = await waiting
        assert (status, told["error"]["code"]) == (404, "session_not_found")


async def test_a_conversation_is_ended_by_whose_it_is(house: Talkers) -> None:
    await say(house, KEYS[ACME], "own", "hi")
    assert (await ask(house, "POST", f"{ROOT}/sessions/own/end", KEYS[EVIL]))[0] == 404
    assert (await ask(house, "POST", f"{ROOT}/sessions/other/end", KEYS[ACME]))[0] == 404
    assert await ask(house, "POST", f"{ROOT}/sessions/own/end", KEYS[ACME]) == (202, {"session_id": "own"})
    assert await house.store.timers(Whose(ACME.uid, "cat"), "own") != b""
