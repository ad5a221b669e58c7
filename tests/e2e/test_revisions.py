"""An edit takes new sessions when it is Ready, old sessions finish on theirs, a bad one takes nobody."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.testing import Cluster, Tenant

SAYS = """
from rolehost import Role, Turn

role = Role("editor")

@role.on_message
async def answer(t: Turn) -> None:
    await t.reply("{word}")
"""

BAD_LOGIC = [
    pytest.param("raise RuntimeError('secret words')", "LogicInvalid", "logic.py:1", id="raises-at-import"),
    pytest.param("import nowhere_to_be_found", "LogicInvalid", "logic.py:1", id="missing-import"),
    pytest.param("x = 1", "LogicInvalid", "Role", id="no-role"),
    pytest.param("def broken(:", "LogicInvalid", "logic.py:1", id="syntax"),
    pytest.param("while True: pass", "LogicInvalid", "", id="never-returns"),
    pytest.param("import os; os._exit(3)", "LogicInvalid", "", id="exits"),
]


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("revisions") as made:
        yield made


@pytest.fixture(scope="module")
def key(tenant: Tenant) -> str:
    return tenant.key("chat")


def _latest(cluster: Cluster, tenant: Tenant, role: str) -> dict[str, Any]:
    status: dict[str, Any] = cluster.get("rhr", role, "-n", tenant.name)["status"]
    return status


@pytest.mark.timeout(180)
def test_old_sessions_stay_new_sessions_move_and_old_content_comes_back(
    cluster: Cluster, tenant: Tenant, key: str
) -> None:
    tenant.apply_role("editor", logic=SAYS.format(word="one"))
    tenant.wait_ready("editor")
    first = _latest(cluster, tenant, "editor")["stableRevision"]
    with cluster.talk("editor", key, "old") as old:
        assert old.say("hi")["message"] == "one"
        tenant.apply_role("editor", logic=SAYS.format(word="two"))
        tenant.wait_ready("editor")
        assert _latest(cluster, tenant, "editor")["stableRevision"] != first
        with cluster.talk("editor", key, "new") as new:
            assert new.say("hi")["message"] == "two"
        assert old.say("hi again")["message"] == "one"
    tenant.apply_role("editor", logic=SAYS.format(word="one"))
    tenant.wait_ready("editor")
    assert _latest(cluster, tenant, "editor")["stableRevision"] == first


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("logic", "reason", "where"), BAD_LOGIC)
def test_bad_logic_is_named_and_takes_no_traffic(
    cluster: Cluster, tenant: Tenant, key: str, logic: str, reason: str, where: str
) -> None:
    tenant.apply_role("careful", logic=SAYS.format(word="good"))
    tenant.wait_ready("careful")
    good = _latest(cluster, tenant, "careful")["stableRevision"]
    tenant.apply_role("careful", logic=logic)
    message = cluster.wait_condition("rhr", "careful", tenant.name, "LogicLoaded", "False", reason=reason)
    assert where in message
    assert "secret words" not in message
    status = _latest(cluster, tenant, "careful")
    assert status["stableRevision"] == good
    assert status["latestCreatedRevision"] != good
    with cluster.talk("careful", key) as person:
        assert person.say("hi")["message"] == "good"


ENDLESS = """
from rolehost import Role, Turn

role = Role("wild")

@role.on_message
async def answer(t: Turn) -> None:
    if "loop" in t.message:
        while True:
            pass
    if "huge" in t.message:
        await t.reply("x" * (1 << 30))
    if "fork" in t.message:
        import os
        while True:
            os.fork()
    if "exit" in t.message:
        import os
        os._exit(1)
    if "eat" in t.message:
        eaten = []
        while True:
            eaten.append(bytearray(1 << 24))
    await t.reply("fine")
"""


@pytest.fixture(scope="module")
def wild(cluster: Cluster, tenant: Tenant) -> str:
    tenant.apply_role("wild", logic=ENDLESS)
    tenant.wait_ready("wild")
    return "wild"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("deed", ["loop", "huge", "exit", "eat"])
def test_a_wild_turn_ends_clearly_and_neighbours_go_on(
    cluster: Cluster, tenant: Tenant, key: str, wild: str, deed: str
) -> None:
    with cluster.talk(wild, key, f"neighbour-of-{deed}") as neighbour, cluster.talk(wild, key, deed) as person:
        assert neighbour.say("hi")["message"] == "fine"
        person.send(message=deed, session_id=deed)
        assert neighbour.say("hi again")["message"] == "fine"
        while True:
            frame = person.hear(60)
            if frame.get("done") or frame["type"] == "error":
                break
        assert frame["type"] == "response.done"
        assert frame["degraded"] or frame["status"] == "failed"
        assert person.say("and now?")["message"] == "fine"
    pods = cluster.get("pods", "-n", tenant.name, "-l", f"rolehost.io/role={wild}")["items"]
    assert [status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"]] == [0]
