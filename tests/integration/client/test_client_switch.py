"""Several Roles on one socket, before a real server and behind a network that is cut."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from tests.integration.client.test_client_live import streamed
from tests.integration.client.test_rolehost_js import LIBRARY, NODE, node
from tests.support.cutting import Relay
from tests.support.dev import STORYTELLER, dev

from rolehost.client import Closed, Event, NotAnswered, Refused, Session, connect

pytestmark = pytest.mark.timeout(120)
CAT = STORYTELLER.parent / "cat"
BROKEN = """
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: broken}
spec: {template: {persona: {system: You never start.}, logic: {entrypoint: "broken:role"}}}
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A storyteller, a cat, and one that never starts."""
    folder = tmp_path_factory.mktemp("roles")
    broken = folder / "broken"
    broken.mkdir()
    (broken / "role.yaml").write_text(BROKEN)
    (broken / "broken.py").write_text("raise RuntimeError('never')\n")
    roles = (str(STORYTELLER), str(CAT), str(broken))
    with dev(*roles, "--port", "0", "--model", "scripted", folder=folder) as running:
        yield running.port


@pytest.fixture
def network(port: int) -> Iterator[Relay]:
    with Relay(port) as made:
        yield made


def at(network: Relay) -> Session:
    return connect(f"http://127.0.0.1:{network.port}", "storyteller", session_id=f"s-{network.port}", after_seq=0)


async def test_each_role_has_its_own_session_on_the_one_socket(network: Relay) -> None:
    async with at(network) as story:
        assert (await story.say("one")).seq == 2
        cat = await story.switch("cat")
        assert (cat.id, cat.about["role"], cat.connected) == (story.id, "cat@r1", True)
        told, again = await asyncio.gather(cat.say("two"), story.say("three"))
        assert ('"two"' in told.text, '"three"' in again.text) == (True, True)
        assert ("one" in told.text, 'before: "one"' in again.text) == (False, True)
        assert (told.seq, again.seq) == (1, 4)
        assert (story.state.values, cat.state.values) == ({"stories": 2}, {})
        assert await cat.switch("storyteller") is story
        assert await cat.switch("Storyteller") is story
        assert await story.switch("Cat") is cat
        other = await story.switch("cat", session_id=f"{story.id}-2")
        assert ((await other.say("four")).seq, (await cat.say("five")).seq) == (1, 2)
        assert network.cut() == 1
        assert (await cat.say("six", client_msg_id="mine")).seq == 3
        assert (await cat.say("six", client_msg_id="mine")).seq == 3
        assert (await other.say("seven")).seq == 2


async def test_a_switch_that_comes_to_nothing_is_an_error_of_that_call_and_the_session_lives(network: Relay) -> None:
    async with at(network) as story:
        with pytest.raises(Refused) as unknown:
            await story.switch("nobody")
        assert (unknown.value.code, bool(unknown.value.hint)) == ("role_not_found", True)
        with pytest.raises(Refused) as odd:
            await story.switch("a b")
        assert odd.value.code == "invalid_role_name"
        with pytest.raises(Refused) as elsewhere:
            await story.switch("evil/lair")
        assert elsewhere.value.code == "role_not_found"
        assert (await story.say("one")).seq == 2
        assert network.cut() == 1, "all of it was on the one socket"


async def test_a_role_that_cannot_open_a_session_now_is_waited_for_and_disturbs_nobody(network: Relay) -> None:
    async with at(network) as story:
        waiting = asyncio.create_task(story.switch("broken", patience=2))
        assert (await story.say("one")).seq == 2
        with pytest.raises(NotAnswered):
            await waiting
        assert (await story.say("two")).seq == 4
        assert network.cut() == 1


async def test_all_of_them_go_on_after_a_loss_each_from_where_it_was(network: Relay) -> None:
    words = "".join(f"{number} 猫🐱 " for number in range(120))
    async with at(network) as story:
        cat = await story.switch("cat", after_seq=0)
        told: dict[str, list[Event]] = {"story": [], "cat": []}
        reading = [asyncio.create_task(keep(session, told[name])) for name, session in (("story", story), ("cat", cat))]
        answers = story.say(words), cat.say(words)
        answering = asyncio.gather(*map(streamed, answers))
        for length in (40, 200, 400):
            while min(len(answer.text) for answer in answers) < length:
                await asyncio.sleep(0.01)
            assert network.cut() == 1
        shown = await answering
        assert [(words.strip() in text, anew) for text, anew in shown] == [(True, 0)] * 2
        assert [(await session.say("and?")).seq for session in (story, cat)] == [4, 2]
    await asyncio.gather(*reading)
    for name, events in told.items():
        seqs = [event["seq"] for event in events if event.get("seq")]
        assert seqs == list(range(1, len(seqs) + 1)), name
        assert [event.type for event in events].count("client.lost") >= 3
        assert {event.get("of", {"role": "storyteller"})["role"] for event in events if "seq" in event} == {
            "storyteller" if name == "story" else "cat"
        }


async def keep(session: Session, events: list[Event]) -> None:
    async for event in session.events():
        events.append(event)


async def test_closing_one_leaves_the_others_and_closing_the_first_closes_all(network: Relay) -> None:
    async with at(network) as story:
        async with await story.switch("cat") as cat:
            assert (await cat.say("one")).seq == 1
        with pytest.raises(Closed):
            await cat.say("two")
        assert (await story.say("three")).seq == 2
        anew = await story.switch("cat")
        assert anew is not cat
        assert (await anew.say("four")).seq == 2
    with pytest.raises(Closed):
        await anew.say("five")
    with pytest.raises(Closed):
        await story.switch("cat")


SCRIPT = """
import { connect } from "%(library)s";
const story = connect("http://127.0.0.1:%(port)d", "storyteller", { sessionId: "node-%(port)d" });
const told = [];
const tutor = story.switch("cat", { afterSeq: 0 });
const cat = await tutor;
const reading = (async () => { for await (const event of cat.events()) told.push(event); })();
const answers = await Promise.all([story.say("one"), cat.say("two"), story.say("three"), cat.say("four")]);
const same = [await cat.switch("Storyteller") === story, await story.switch("cat") === cat, await story.switch("Cat") === cat];
const wrong = await story.switch("nobody").catch((error) => error.code);
const odd = await story.switch("").catch((error) => error.code);
const late = await story.switch("broken", { patience: 1 }).catch((error) => error.retryable);
story.reconnect();
const again = [await cat.say("five"), await story.say("six")];
cat.close();
const closed = await cat.say("seven").catch((error) => error.code);
const anew = await story.switch("cat");
const eighth = await anew.say("eight");
story.close();
const over = [await anew.say("nine").catch((error) => error.code), await story.switch("cat").catch((error) => error.code)];
await reading;
console.log(JSON.stringify({ seqs: [...answers, ...again, eighth].map(({ seq }) => seq), same, wrong, odd, late, closed, over,
  texts: answers.map(({ text }) => text), of: [...new Set(told.filter(({ seq }) => seq).map(({ of }) => of.role))],
  numbers: told.map(({ seq }) => seq).filter(Boolean), role: anew.about.role, lost: told.filter(({ type }) => type === "client.lost").length }));
"""


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
def test_the_same_in_node(network: Relay) -> None:
    script = SCRIPT % {"library": LIBRARY.as_uri(), "port": network.port}
    said = json.loads(node("--experimental-websocket", "--input-type=module", stdin=script))
    assert said["seqs"] == [2, 1, 4, 2, 3, 6, 4]
    assert ['"one"' in said["texts"][0], '"two"' in said["texts"][1], "one" in said["texts"][1]] == [True, True, False]
    assert said["same"] == [True, True, True]
    assert (said["wrong"], said["odd"], said["late"]) == ("role_not_found", "invalid_role_name", True)
    assert (said["closed"], said["over"], said["role"]) == ("closed", ["closed", "closed"], "cat@r1")
    assert (said["of"], said["numbers"], said["lost"]) == (["cat"], [1, 2, 3], 1)
    assert network.cut() <= 1, "the one after reconnect, at most"
