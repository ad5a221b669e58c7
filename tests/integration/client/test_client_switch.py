"""Several Roles on one socket, before a real server and behind a network that is cut."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.client.test_client_live import streamed
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


@contextmanager
def serving(folder: Path, *more: str) -> Iterator[Relay]:
    """A storyteller and a cat, and a network to them."""
    roles = (str(STORYTELLER), str(CAT), *more)
    with dev(*roles, "--port", "0", "--model", "scripted", folder=folder) as running, Relay(running.port) as network:
        yield network


def at(network: Relay) -> Session:
    return connect(f"http://127.0.0.1:{network.port}", "storyteller", session_id="s", after_seq=0)


async def test_each_role_has_its_own_session_on_the_one_socket(tmp_path: Path) -> None:
    with serving(tmp_path) as network:
        async with at(network) as story:
            assert (await story.say("one")).seq == 2
            cat = await story.switch("cat")
            assert (cat.id, cat.about["role"], cat.connected) == ("s", "cat@r1", True)
            told, again = await asyncio.gather(cat.say("two"), story.say("three"))
            assert ('"two"' in told.text, '"three"' in again.text) == (True, True)
            assert ("one" in told.text, 'before: "one"' in again.text) == (False, True)
            assert (told.seq, again.seq) == (1, 4)
            assert (story.state.values, cat.state.values) == ({"stories": 2}, {})
            assert await cat.switch("storyteller") is story
            assert await cat.switch("Storyteller") is story
            assert await story.switch("Cat") is cat
            other = await story.switch("cat", session_id="s2")
            assert ((await other.say("four")).seq, (await cat.say("five")).seq) == (1, 2)
            assert network.cut() == 1
            assert (await cat.say("six", client_msg_id="mine")).seq == 3
            assert (await cat.say("six", client_msg_id="mine")).seq == 3
            assert (await other.say("seven")).seq == 2
            assert cat.rtt_ms is None or cat.rtt_ms > 0


async def test_a_switch_that_comes_to_nothing_is_an_error_of_that_call_and_the_session_lives(tmp_path: Path) -> None:
    with serving(tmp_path) as network:
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


async def test_a_role_that_cannot_open_a_session_now_is_waited_for_and_disturbs_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "role.yaml").write_text(BROKEN)
    (folder / "broken.py").write_text("raise RuntimeError('never')\n")
    with serving(tmp_path, str(folder)) as network:
        async with at(network) as story:
            waiting = asyncio.create_task(story.switch("broken", patience=2))
            assert (await story.say("one")).seq == 2
            with pytest.raises(NotAnswered):
                await waiting
            assert (await story.say("two")).seq == 4
            assert network.cut() == 1


async def test_all_of_them_go_on_after_a_loss_each_from_where_it_was(tmp_path: Path) -> None:
    words = "".join(f"{number} 猫🐱 " for number in range(120))
    with serving(tmp_path) as network:
        async with at(network) as story:
            cat = await story.switch("cat", after_seq=0)
            told: dict[str, list[Event]] = {"story": [], "cat": []}
            reading = [
                asyncio.create_task(keep(session, told[name])) for name, session in (("story", story), ("cat", cat))
            ]
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


async def test_closing_one_leaves_the_others_and_closing_the_first_closes_all(tmp_path: Path) -> None:
    with serving(tmp_path) as network:
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
