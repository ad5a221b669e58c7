"""What is remembered, over HTTP: who may see and forget whose. A real port, real sessions, a store in memory."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.edge.test_edge_keeping import ask, say, token
from tests.support.rooms import ACME, EVIL, FakePod
from tests.support.talking import KEYS, USER_KEY, Talkers, add_key

from rolehost_api.link.messages import Commit, Remember, Say, StartTurn
from rolehost_runtime.gateway.tables import Scope

ROOT = "/v1/roles/cat/memories"
EVIL_USER_KEY = "rh_8_evil"
SECRET = "the password is swordfish"


async def remembering(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, Say(index=0, text="noted"))
    pod.send(channel, Commit(atoms=(Remember(text=start.message),)))


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers() as running:
        add_key(running.tables, EVIL_USER_KEY, EVIL, Scope.CHAT, Scope.ACT_AS_USER)
        running.turns_are(remembering)
        yield running


async def texts(house: Talkers, key: str, query: str = "") -> list[str]:
    status, answer = await ask(house, "GET", f"{ROOT}{query}", key)
    assert status == 200, answer
    return [one["text"] for one in answer["memories"]]


async def test_a_user_sees_their_own_and_a_tenants_server_any_users(house: Talkers) -> None:
    await say(house, USER_KEY, "a", "tea", "u-17")
    house.clock.now_ms += 1
    await say(house, USER_KEY, "b", "a dragon", "u-17")
    await say(house, USER_KEY, "a", SECRET, "u-18")
    await say(house, KEYS[ACME], "own", "of nobody")
    u17 = await token(house, "u-17")
    assert await texts(house, u17) == await texts(house, u17, "?user=u-18") == ["a dragon", "tea"]
    assert await texts(house, u17, "?session=a") == ["tea"]
    assert await texts(house, u17, "?query=dragons") == ["a dragon"]
    assert await texts(house, USER_KEY, "?user=u-18") == [SECRET]
    assert await texts(house, KEYS[ACME], "?session=own") == ["of nobody"]
    assert await texts(house, EVIL_USER_KEY, "?user=u-18") == await texts(house, KEYS[EVIL], "?session=own") == []
    assert (await ask(house, "GET", f"{ROOT}?user=u-18", KEYS[ACME]))[0] == 403
    assert (await ask(house, "GET", ROOT, KEYS[ACME]))[1]["error"]["code"] == "whose_memory"


async def test_a_list_goes_on_where_the_page_before_ended(house: Talkers) -> None:
    for number in range(3):
        await say(house, USER_KEY, "a", f"m{number}", "u-17")
        house.clock.now_ms += 1
    _, first = await ask(house, "GET", f"{ROOT}?user=u-17&limit=2", USER_KEY)
    _, rest = await ask(house, "GET", f"{ROOT}?user=u-17&limit=2&after={first['after']}", USER_KEY)
    assert [one["text"] for one in (*first["memories"], *rest["memories"])] == ["m2", "m1", "m0"]
    assert rest["after"] == ""
    assert (await ask(house, "GET", f"{ROOT}?user=u-17&limit=0", USER_KEY))[0] == 400


async def test_what_is_forgotten_is_gone_and_the_receipt_says_so_without_a_word_of_it(
    house: Talkers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await say(house, USER_KEY, "a", SECRET, "u-17")
    u17, u18 = await token(house, "u-17"), await token(house, "u-18")
    _, answer = await ask(house, "GET", ROOT, u17)
    [name] = [one["id"] for one in answer["memories"]]
    assert (await ask(house, "DELETE", f"{ROOT}/{name}", u18))[0] == 404
    assert (await ask(house, "DELETE", f"{ROOT}/{name}?user=u-17", EVIL_USER_KEY))[0] == 404
    status, receipt = await ask(house, "DELETE", f"{ROOT}/{name}", u17)
    assert (status, receipt["deleted"], receipt["user"]) == (200, {"memories": 1}, "u-17")
    assert await texts(house, u17) == []
    assert (await ask(house, "DELETE", f"{ROOT}/{name}", u17))[1]["error"]["code"] == "memory_not_found"
    assert (await ask(house, "GET", f"/v1/forgotten/{receipt['receipt']}", u17))[0] == 200
    assert "swordfish" not in caplog.text + str(receipt)


async def test_what_a_user_asserts_is_confirmed_by_the_tenant_and_not_by_the_user(house: Talkers) -> None:
    await say(house, USER_KEY, "a", "tea", "u-17")
    u17 = await token(house, "u-17")
    [name] = [one["id"] for one in (await ask(house, "GET", ROOT, u17))[1]["memories"]]
    _, edited = await ask(house, "POST", f"{ROOT}/{name}", u17, {"text": "mate"})
    assert edited["asserted"] is True
    path = f"{ROOT}/{edited['id']}/confirm"
    assert (await ask(house, "POST", path, u17))[1]["error"]["code"] == "confirm_not_allowed"
    assert (await ask(house, "POST", f"{path}?user=u-17", EVIL_USER_KEY))[0] == 404
    status, confirmed = await ask(house, "POST", f"{path}?user=u-17", USER_KEY)
    assert (status, confirmed["text"], confirmed["asserted"]) == (200, "mate", False)
    assert [one["asserted"] for one in (await ask(house, "GET", ROOT, u17))[1]["memories"]] == [False]


async def test_a_forgotten_user_is_remembered_by_nobody(house: Talkers) -> None:
    await say(house, USER_KEY, "a", SECRET, "u-17")
    status, receipt = await ask(house, "DELETE", "/v1/roles/cat/users/u-17", USER_KEY)
    assert (status, receipt["deleted"]["memories"]) == (200, 1)
    assert await texts(house, USER_KEY, "?user=u-17") == []
    assert "swordfish" not in repr(house.store.shelf)


async def test_a_user_corrects_what_is_remembered_and_a_tenants_server_vouches_for_it(house: Talkers) -> None:
    await say(house, USER_KEY, "a", "likes tea", "u-17")
    u17, u18 = await token(house, "u-17"), await token(house, "u-18")
    [before] = (await ask(house, "GET", ROOT, u17))[1]["memories"]
    path = f"{ROOT}/{before['id']}"
    assert (await ask(house, "POST", path, u18, {"text": "likes mate"}))[0] == 404
    wrongs: list[object] = [{"text": " "}, {"text": "x" * 2001}, {"words": "x"}, []]
    for wrong in wrongs:
        assert (await ask(house, "POST", path, u17, wrong))[0] == 400
    status, after = await ask(house, "POST", path, u17, {"text": "likes mate"})
    assert (status, after["text"], after["asserted"], after["turn"]) == (200, "likes mate", True, before["turn"])
    assert await texts(house, u17) == ["likes mate"]
    assert (await ask(house, "POST", path, u17, {"text": "again"}))[0] == 404
    path = f"{ROOT}/{after['id']}?user=u-17"
    status, vouched = await ask(house, "POST", path, USER_KEY, {"text": "likes mate, hot"})
    assert (status, vouched["asserted"]) == (200, False)
    status, receipt = await ask(house, "DELETE", "/v1/roles/cat/sessions/a?user=u-17", USER_KEY)
    assert (status, receipt["deleted"]["memories"]) == (200, 1)
    assert await texts(house, u17) == []
