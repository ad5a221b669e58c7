"""The lorebook in turns: what the model is told, what the record says of it, and that it is the same wherever the turn runs."""

import asyncio
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.support.house import House
from tests.support.rooms import FakePod, ask_and_commit, revision_entry, serve, world

from rolehost_api.canonical import template_hash
from rolehost_api.crd.lorebook import AfterMatch, Lorebook, LoreEntry, LorePosition
from rolehost_api.crd.role import Example, Persona, RoleTemplate
from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import CallModel, Commit, InputSegment, PersonaSegment, StartTurn, TextSegment
from rolehost_api.wire import ResponseDone, Said, SessionCreated, ToldLore, Usage
from rolehost_runtime.core import snapshot
from rolehost_runtime.core.export import ExportTurn, exported, recorded
from rolehost_runtime.core.lorebook.compiling import Compiled
from rolehost_runtime.core.lorebook.telling import Moment, tell
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.metrics import PrometheusSink

BOOK = Lorebook(
    recursive=True,
    entries=(
        LoreEntry(id="sea", content="The sea is grey.", constant=True, position=LorePosition.BEFORE_PERSONA),
        LoreEntry(id="gull", content="Gull is a ship. Her cat is Bosun.", keys=("ship",)),
        LoreEntry(id="bosun", content="Bosun has one ear.", keys=("bosun",)),
        LoreEntry(id="storm", content="(A storm comes.)", keys=("wind",), position=LorePosition.AT_DEPTH, depth=1),
        LoreEntry(id="song", content="He hums.", keys=("sing",), sticky_turns=1, cooldown_turns=2),
        LoreEntry(id="dice", content="Luck!", keys=("dice",), probability=50),
    ),
)


DICE = Compiled(BOOK, len)


class Room:
    """A gateway whose model writes down what it is shown, and says one word."""

    def __init__(self, book: Lorebook = BOOK, shelf: Any = None, **persona: Any) -> None:
        tables = world()
        template = RoleTemplate(
            persona=Persona(system="You are Tom.", greeting="Door's open.", lorebook=book, **persona)
        )
        self.revision = serve(tables, revision_entry(template=template))
        self.house = House(tables, shelf)
        self.model = self.house.slow_model()

    async def __aenter__(self) -> "Room":
        self.pod = self.house.pod("p1")
        await self.house.pool.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.house.service.stop(0)
        await self.house.pool.stop()

    async def say(self, handle: Any, message: str, **more: Any) -> list[tuple[str, str]]:
        """What the model was shown."""
        for item in ("Aye.", ModelEnd("stop", Usage())):
            self.model.pieces.put_nowait(item)
        await handle.say(Said(message=message, **more))
        return self.model.shown

    async def records(self) -> list[TurnRecord]:
        return [one for one in await self.house.log() if isinstance(one, TurnRecord)]


def system(shown: list[tuple[str, str]]) -> str:
    """All that the model was told by the system, above the conversation and below it."""
    return "\n\n".join(text for speaker, text in shown if speaker == "system")


async def test_what_is_spoken_of_is_told_around_the_persona_and_among_the_messages() -> None:
    async with Room() as room:
        handle, ear = await room.house.attach()
        assert await room.say(handle, "Hello") == [("system", "The sea is grey.\n\nYou are Tom."), ("user", "Hello")]
        stable = room.model.asked[-1].stable_chars
        assert stable == len("The sea is grey.\n\nYou are Tom.")
        assert await room.say(handle, "Whose ship, in this wind?") == [
            ("system", "The sea is grey.\n\nYou are Tom."),
            ("user", "Hello"),
            ("assistant", "Aye."),
            ("system", "Gull is a ship. Her cat is Bosun.\n\nBosun has one ear."),
            ("user", "(A storm comes.)\n\nWhose ship, in this wind?"),
        ]
        assert room.model.asked[-1].stable_chars == stable
        told = (
            ToldLore(id="gull", by="key"),
            ToldLore(id="bosun", by="entry"),
            ToldLore(id="storm", by="key"),
        )
        assert [done.lore for done in ear.of(ResponseDone)] == [None, told]
        first, second = await room.records()
        assert (first.lore, second.lore, second.lore_began) == ((), told, ())
        line = exported(second, "abc")
        assert isinstance(line, ExportTurn)
        assert recorded(line).lore == told


async def test_chance_is_the_turns_own_wherever_it_runs_again() -> None:
    """Of ten turns each falls with its first pod: what the model is told is what the record's seed says."""
    fallen: set[int] = set()

    async def falls(pod: FakePod, channel: int, start: StartTurn) -> None:
        if start.turn not in fallen:
            fallen.add(start.turn)
            assert pod.pipe is not None
            pod.pipe.close()
            return
        await ask_and_commit(pod, channel, start)

    async with Room() as room:
        room.pod.turn = room.house.pod("p2").turn = falls
        handle, _ = await room.house.attach()
        shown = [await room.say(handle, "dice") for _ in range(10)]
        records = await room.records()
        assert fallen == {record.turn for record in records}
        lucky = [bool(tell(DICE, ["dice"], Moment(1, record.rng_seed, 0)).found) for record in records]
        assert [bool(record.lore) for record in records] == lucky
        assert ["Luck!" in system(one) for one in shown] == lucky


async def test_what_stays_is_remembered_by_the_log_by_snapshots_and_by_another_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "EVERY_TURNS", 2)

    def hums(shown: list[tuple[str, str]]) -> bool:
        return "He hums." in system(shown)

    async with Room(Lorebook(entries=BOOK.entries, scan_depth=1)) as room:
        handle, ear = await room.house.attach()
        assert hums(await room.say(handle, "sing"))
        assert hums(await room.say(handle, "and"))  # sticky
        await room.house.service._world.snapshotting.idle()
        assert ear.of(ResponseDone)[1].lore == (ToldLore(id="song", by="kept"),)
        shelf = room.house.store.shelf
    async with Room(Lorebook(entries=BOOK.entries, scan_depth=1), shelf) as room:
        handle, _ = await room.house.attach()
        assert not hums(await room.say(handle, "sing"))  # cooldown
        assert not hums(await room.say(handle, "sing"))
        assert hums(await room.say(handle, "sing"))
        assert [record.lore_began for record in await room.records()][-1] == ("song",)


async def test_a_question_that_is_not_the_personas_is_told_nothing() -> None:
    async with Room() as room:

        async def judge(pod: FakePod, channel: int, start: StartTurn) -> None:
            pod.send(
                channel, CallModel(index=0, segments=(TextSegment("system", "Judge."), InputSegment()), stream=True)
            )
            await pod.answer(channel)
            pod.send(channel, Commit())

        room.pod.turn = judge
        handle, ear = await room.house.attach()
        assert await room.say(handle, "a ship") == [("system", "Judge."), ("user", "a ship")]
        assert ear.of(ResponseDone)[0].lore is None


async def test_words_that_join_an_answer_are_heard_by_the_lorebook() -> None:
    async with Room() as room:
        handle, ear = await room.house.attach()
        first = asyncio.create_task(handle.say(Said(message="Hello")))
        await room.house.until(lambda: bool(room.model.asked))
        room.model.pieces.put_nowait("Aye,")
        await room.house.until(lambda: ear.text() == "Aye,")
        second = asyncio.create_task(handle.say(Said(message="a ship!", busy_policy="steer")))
        await room.house.until(lambda: len(room.model.asked) == 2)
        for item in (" ", ModelEnd("stop", Usage())):
            room.model.pieces.put_nowait(item)
        await asyncio.gather(first, second)
        assert "Gull is a ship." in system(room.model.shown)
        assert [one.id for one in ear.of(ResponseDone)[0].lore] == ["gull", "bosun"]


async def test_the_greeting_that_was_shown_is_recorded_with_the_first_message() -> None:
    book = Lorebook(
        entries=(
            LoreEntry(id="rain", content="It rains.", constant=True, greeting=1),
            LoreEntry(id="late", content="It is late.", constant=True, after_replies=2),
            LoreEntry(id="once", content="A bell.", constant=True, greeting=1, after_match=AfterMatch.NEVER),
        )
    )
    async with Room(book, greetings=("Come in out of the rain.",)) as room:
        handle, ear = await room.house.attach()
        created = ear.of(SessionCreated)[0]
        assert (created.greeting, created.greetings) == ("Door's open.", ("Come in out of the rain.",))
        with pytest.raises(BadRequest, match="no greeting of that number"):
            await handle.say(Said(message="hi", greeting=2))
        assert "It rains.\n\nA bell." in system(await room.say(handle, "hi", greeting=1))
        assert system(await room.say(handle, "hi", greeting=9)).endswith("It rains.\n\nIt is late.")
        assert [record.greeting for record in await room.records()] == [1, 0]
        _, late = await room.house.attach()
        assert late.of(SessionCreated)[0].greetings == ()
        shelf = room.house.store.shelf
    async with Room(book, shelf, greetings=("Come in out of the rain.",)) as room:
        handle, _ = await room.house.attach()
        assert "It rains." in system(await room.say(handle, "hi"))


async def test_examples_are_told_behind_the_persona_in_every_turn() -> None:
    examples = (Example(user="Windy?", persona="That's Marguerite."),)
    async with Room(Lorebook(), examples=examples) as room:

        async def asks(pod: FakePod, channel: int, start: StartTurn) -> None:
            pod.send(
                channel,
                CallModel(index=0, segments=(PersonaSegment(0), PersonaSegment(1), InputSegment()), stream=True),
            )
            await pod.answer(channel)
            pod.send(channel, Commit())

        room.pod.turn = asks
        handle, _ = await room.house.attach()
        shown = await room.say(handle, "hi")
        text = "You are Tom.\n\nExamples of how you speak:\n\nThe user: Windy?\nYou: That's Marguerite."
        assert shown == [("system", text), ("user", "hi")]
        assert room.model.asked[-1].stable_chars == len(text)


async def test_patterns_are_looked_for_beside_the_loop() -> None:
    book = Lorebook(entries=(LoreEntry(id="wyrm", content="It breathes fire.", keys=("drag(on|oon)s?",), regex=True),))
    async with Room(book) as room:
        handle, ear = await room.house.attach()
        assert "It breathes fire." in system(await room.say(handle, "Dragoons!"))
        assert ear.of(ResponseDone)[0].lore == (ToldLore(id="wyrm", by="key"),)


async def test_what_was_told_and_what_did_not_fit_is_counted() -> None:
    book = Lorebook(
        token_budget=3,
        entries=(
            LoreEntry(id="a", content="One ship.", keys=("ship",), order=2),
            LoreEntry(id="b", content="Two ships.", keys=("ship",), order=1),
        ),
    )
    async with Room(book) as room:
        handle, ear = await room.house.attach()
        assert "Two ships." not in (await room.say(handle, "a ship"))[0][1]
        assert ear.of(ResponseDone)[0].lore == (ToldLore(id="a", by="key"),)
        await room.say(handle, "hm " * 5)
        assert room.house.sink.told[0] == ("acme", "cat", 1, 1)
    registry = CollectorRegistry()
    PrometheusSink(registry).lore("acme", "cat", 2, 1)
    labels = {"tenant": "acme", "role": "cat"}
    assert registry.get_sample_value("rolehost_lore_entries_total", {**labels, "outcome": "told"}) == 2
    assert registry.get_sample_value("rolehost_lore_entries_total", {**labels, "outcome": "over_budget"}) == 1


def test_what_is_said_with_its_default_makes_no_other_revision() -> None:
    entry = {"id": "a", "content": "A ship.", "keys": ["ship"]}
    said = {
        **entry,
        "order": 100,
        "depth": 4,
        "enabled": True,
        "probability": 100,
        "logic": "AndAny",
        "wholeWords": True,
    }

    def digest(one: dict[str, Any], **book: Any) -> str:
        persona = {"system": "x", "lorebook": {"entries": [one], **book}}
        return template_hash(msgspec.convert({"persona": persona}, RoleTemplate), {})

    assert digest(entry) == digest(said, scanDepth=4, tokenBudget=1024, recursive=False)
    assert digest(entry) != digest({**entry, "order": 99})
    assert digest(entry) != digest(entry, tokenBudget=1023)
