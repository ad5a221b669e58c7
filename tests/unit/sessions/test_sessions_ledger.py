"""Turns, cancels, interruptions, amends, faults of the store and takeovers in any order: the ledger is right.

One client says one thing after the other, cuts answers short and connects again where its
gateway died; what it has heard is its ledger. Whatever happens, no turn that was
acknowledged is lost, none is there twice, and events are numbered without a gap.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.house import House, playing
from tests.support.proof import SOAK
from tests.support.rooms import ACME, Ear, principal, world

from rolehost import Role, State, Turn
from rolehost_api.errors import Unavailable
from rolehost_api.wire import HeardPart, ResponseAmended, ResponseDone, Said, ServerFrame, Usage
from rolehost_runtime.core import session, snapshot
from rolehost_runtime.core.record import Amend, Record, TurnRecord, last_seq, render
from rolehost_runtime.core.session import MAX_PAST_TURNS, SessionFold
from rolehost_runtime.core.snapshot import EVERY_TURNS
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.live import folded

pytestmark = pytest.mark.timeout(120)

END = ModelEnd("stop", Usage())
STEPS = 40
"""Of the event loop, after which everything that can go on has gone on as far as it can."""


class Count(State):
    asked: int = 0
    told: int = 0
    cut: int = 0


def counting() -> Role[Count]:
    cat = Role("cat", state=Count)

    @cat.on_message
    async def answer(t: Turn[Count]) -> None:
        t.state.asked += 1
        await t.reply(t.ask())
        t.state.told += 1

    @cat.on_interrupt
    def cut(t: Turn[Count]) -> None:
        t.state.cut += 1

    return cat


def gist(event: ServerFrame) -> tuple[Any, ...]:
    if isinstance(event, ResponseDone):
        return event.seq, event.response_id, event.status, event.message
    if isinstance(event, ResponseAmended):
        return event.seq, event.response_id, event.message
    return (event.seq,)


class Client(Ear):
    """Keeps every numbered event that it ever heard, over all of its connections."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: list[tuple[Any, ...]] = []

    def send(self, event: ServerFrame) -> None:
        super().send(event)
        if event.seq is None:
            return
        assert 1 <= event.seq <= len(self.ledger) + 1, "an event was left out"
        if event.seq <= len(self.ledger):
            assert self.ledger[event.seq - 1] == gist(event), "an event was told differently before"
        else:
            self.ledger.append(gist(event))

    @property
    def newest(self) -> str:
        """The response that it heard of last."""
        ids = (getattr(event, "response_id", None) for event in reversed(self.heard))
        return next(filter(None, ids), "r-none")


class Conversation(RuleBasedStateMachine):
    every_turns, past_turns = EVERY_TURNS, MAX_PAST_TURNS
    """How often a snapshot is taken, and how many turns a session holds for prompts."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(snapshot, "EVERY_TURNS", self.every_turns)
        self.patch.setattr(session, "MAX_PAST_TURNS", self.past_turns)
        self.loop = asyncio.new_event_loop()
        self.client = Client()
        self.said: dict[str, Said] = {}
        """By id: what the client said, and says again."""
        self.acknowledged: set[str] = set()
        self.shelf: Any = None
        self.looked: Any = None
        """At which log and which snapshots."""
        self.tasks: list[asyncio.Task[None]] = []
        self.fault: str = ""
        self.run(self.new_gateway())

    def run(self, work: Any) -> None:
        async def and_settle() -> None:
            await work
            for _ in range(STEPS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(and_settle())

    async def new_gateway(self) -> None:
        self.house = House(world(ACME), self.shelf)
        self.shelf = self.house.store.shelf
        self.house.slow_model()
        self.house.pod("p1", turn=playing(counting()))
        self.commit = self.house.store.commit
        self.house.store.commit = self.faulty  # type: ignore[method-assign]
        await self.house.pool.start()
        await self.connect()

    async def connect(self) -> None:
        role = self.house.tables.roles.get("acme", "cat")
        assert role is not None
        self.handle = await self.house.service.attach(principal(ACME), role, "abc", self.client)
        await self.handle.resume(len(self.client.ledger))

    async def faulty(self, key: str, record: Record, keep_seconds: int = 0) -> None:
        fault, self.fault = self.fault, ""
        if fault == "before":
            raise Unavailable("away", code="state_unavailable")
        await self.commit(key, record)
        if fault == "after":
            raise Unavailable("away", code="state_unavailable")

    async def start(self, work: Any) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def saying(self, said: Said) -> None:
        try:
            await self.handle.say(said)
        except Exception:
            return
        assert said.client_msg_id is not None
        self.acknowledged.add(said.client_msg_id)

    async def cancelling(self, response_id: str, heard: HeardPart | None) -> None:
        try:
            await self.handle.cancel(response_id, heard)
        except Exception:
            return

    # ── what may happen ─────────────────────────────────────────────────────────────

    @precondition(lambda self: len(self.said) < 12)
    @rule(
        policy=st.sampled_from([None, None, None, "reject", "interrupt", "steer"]),
        heard=st.none() | st.integers(0, 9),
        spoken=st.sampled_from(["", "word ", "a longer piece "]),
    )
    def say(self, policy: Any, heard: int | None, spoken: str) -> None:
        message_id = f"c{len(self.said)}"
        part = None if heard is None else HeardPart(chars=heard)
        said = Said(message=f"message {message_id}", client_msg_id=message_id, busy_policy=policy, heard=part)
        self.said[message_id] = said
        self.run(self.start(self.saying(said)))
        self.run(self.model(*([spoken] if spoken else [])))

    @precondition(lambda self: len(self.said) < 12 and not self.asks)
    @rule(text=st.sampled_from(["word ", "a longer piece "]))
    def talk(self, text: str) -> None:
        self.say(None, None, text)
        self.run(self.model(END))

    @precondition(lambda self: bool(self.said))
    @rule(back=st.integers(0, 3))
    def say_again(self, back: int) -> None:
        message_id = list(self.said)[-1 - back :][0]
        self.run(self.start(self.saying(self.said[message_id])))

    @precondition(lambda self: self.asks)
    @rule(text=st.sampled_from(["word ", "a longer piece "]))
    def the_model_says(self, text: str) -> None:
        self.run(self.model(text))

    @precondition(lambda self: self.asks)
    @rule(text=st.sampled_from(["word ", "a longer piece "]))
    def the_model_answers(self, text: str) -> None:
        self.run(self.model(text, END))

    @precondition(lambda self: self.asks)
    @rule(heard=st.none() | st.integers(0, 12))
    def cancel(self, heard: int | None) -> None:
        part = None if heard is None else HeardPart(chars=heard)
        self.run(self.start(self.cancelling(self.client.newest, part)))

    @precondition(lambda self: not self.asks and bool(self.client.ledger))
    @rule(heard=st.integers(0, 12))
    def amend(self, heard: int) -> None:
        self.run(self.start(self.cancelling(self.client.newest, HeardPart(chars=heard))))

    @property
    def asks(self) -> bool:
        """A model is being listened to."""
        return hasattr(self, "house") and len(self.house.slow.asked) > self.house.slow.closed

    async def model(self, *items: Any) -> None:
        for item in items:
            self.house.slow.pieces.put_nowait(item)

    @rule(fault=st.sampled_from(["before", "after"]))
    def the_store_fails_once(self, fault: str) -> None:
        self.fault = fault

    @precondition(lambda self: bool(self.said))
    @rule()
    def the_client_connects_again(self) -> None:
        async def again() -> None:
            self.handle.detach()
            await self.connect()

        self.run(again())

    @precondition(lambda self: bool(self.said))
    @rule()
    def the_gateway_dies(self) -> None:
        async def die() -> None:
            self.fault = ""
            await self.house.die()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.tasks.clear()
            await self.new_gateway()

        self.run(die())

    # ── what always holds ───────────────────────────────────────────────────────────

    def log(self) -> list[Record]:
        return self.loop.run_until_complete(self.house.log()) if self.shelf else []

    @invariant()
    def the_log_folds_and_holds_what_was_acknowledged_once(self) -> None:
        if not hasattr(self, "house"):
            return
        log = self.log()
        numbers = [number for one in log for number in range(one.seq_first, last_seq(one) + 1)]
        assert numbers == [*range(1, len(numbers) + 1)]
        fold = SessionFold.of(log[0].log_id, log[0].epoch, log) if log else None
        turns = [record for record in log if isinstance(record, TurnRecord)]
        ids = [one for record in turns for one in (record.client_msg_id, *record.joined)]
        assert len(ids) == len(set(ids)), "a message was answered twice"
        assert self.acknowledged <= set(ids), "an acknowledged message is lost"
        told = [gist(event) for record in log for event in render(record, "abc")]
        assert self.client.ledger == told[: len(self.client.ledger)], "the client heard something else"
        if fold is not None:
            cut = sum(record.status == "cancelled" for record in turns)
            assert fold.state.get("told", 0) == len(turns) - cut
            assert fold.state.get("cut", 0) <= cut

    @invariant()
    def prompts_know_what_was_heard(self) -> None:
        if not hasattr(self, "house"):
            return
        heard: dict[str, str] = {}
        for record in self.log():
            if isinstance(record, Amend):
                assert heard[record.response_id].startswith(record.reply)
            heard[record.response_id] = record.reply
        for live in self.house.service._live.values():
            if live._fold is not None and live._told_seq == live._fold.seq:
                newest = list(heard.values())[-self.past_turns :]
                assert [exchange.reply for exchange in live._fold.past] == newest

    @invariant()
    def who_opens_it_has_what_the_whole_log_makes(self) -> None:
        if not hasattr(self, "house") or not self.shelf.heads:
            return
        (key,) = self.shelf.heads

        log, there = self.log(), self.shelf
        if self.looked == (looked := (len(log), list(there.snaps.get(key, ())))):
            return
        self.looked = looked
        copy = Shelf(
            {**there.heads},
            {**there.owners},
            {key: [*there.logs.get(key, ())]},
            snaps={key: {**there.snaps.get(key, {})}},
        )

        async def opened() -> SessionFold:
            return await folded(*await MemorySessionStore(copy).open(key))

        fold = self.loop.run_until_complete(opened())
        whole = SessionFold.of(fold.log_id, fold.epoch, log)
        for name in ("turn", "seq", "version", "amends", "state", "past", "response_id", "last_at_ms", "_seen"):
            assert getattr(fold, name) == getattr(whole, name), name

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        self.run(self.answer_everything())
        self.the_log_folds_and_holds_what_was_acknowledged_once()
        assert self.acknowledged == set(self.said)
        log = self.log()
        assert len(self.client.ledger) == (last_seq(log[-1]) if log else 0)
        assert not [head for head in self.shelf.heads.values() if head.open]
        self.loop.run_until_complete(self.end())
        self.loop.close()
        self.patch.undo()

    async def end(self) -> None:
        await self.house.service.stop(0)
        await self.house.pool.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def answer_everything(self) -> None:
        """The client sends what is not acknowledged until it is, and the model says what it is asked for."""
        self.fault = ""
        async with asyncio.timeout(10):
            while self.tasks or self.acknowledged != set(self.said):
                for message_id in [one for one in self.said if one not in self.acknowledged]:
                    self.tasks.append(asyncio.ensure_future(self.saying(self.said[message_id])))
                while not all(task.done() for task in self.tasks):
                    self.house.slow.pieces.put_nowait(END)
                    await asyncio.sleep(0)
                self.tasks.clear()
            for live in self.house.service._live.values():
                while live.busy:
                    self.house.slow.pieces.put_nowait(END)
                    await asyncio.sleep(0)
        await self.connect()


class Snapshotted(Conversation):
    """The same, where every other turn is followed by a snapshot and little of the past is held."""

    every_turns, past_turns = 2, 3


TestConversation = Conversation.TestCase
TestSnapshotted = Snapshotted.TestCase
TestSnapshotted.settings = settings(max_examples=1000 if SOAK else 60, stateful_step_count=40)
TestConversation.settings = settings(max_examples=2000 if SOAK else 150, stateful_step_count=40)
