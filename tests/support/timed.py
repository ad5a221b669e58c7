"""A gateway whose Role has timers, and a clock that a test moves."""

from typing import Any

from tests.support.house import House, playing
from tests.support.rooms import ACME, Ear, world

from rolehost import Role, State, Turn
from rolehost_api.link.messages import Bound, TimerSpec
from rolehost_api.wire import Said
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state.memory_store import Shelf
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.sessions.timekeeping import Allowance, Timekeeper

CAT = Whose(ACME.uid, "cat")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NUDGE, TICK = TimerSpec("on_idle:nudge", "on_idle", 600), TimerSpec("every:tick", "every", 3_600)
SLACK = MINUTE
"""More than a timer's jitter."""


class Mood(State):
    nudges: int = 0
    ticks: int = 0


def role(*timers: TimerSpec) -> Role[Mood]:
    cat = Role("cat", state=Mood)
    if NUDGE in timers:

        @cat.on_idle("10m")
        def nudge(t: Turn[Mood]) -> None:
            t.state.nudges += 1
            t.say(f"Are you there? It has been {t.absent.total_seconds() // 60:.0f} minutes.")

    if TICK in timers:

        @cat.every("1h")
        async def tick(t: Turn[Mood]) -> None:
            t.state.ticks += 1
            await t.reply(t.ask())

    @cat.on_message
    def answer(t: Turn[Mood]) -> None:
        t.say("Meow.")

    return cat


class Sink:
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def looked(self, outcome: str) -> None:
        self.outcomes.append(outcome)


class Timed(House):
    """A gateway with timers, on a shelf that others may share."""

    def __init__(self, *timers: TimerSpec, shelf: Shelf | None = None, others: Any = (), **more: Any) -> None:
        super().__init__(world(ACME), shelf, **more)
        self.outcomes = (looked := Sink()).outcomes
        self.others = others
        self.keeper = Timekeeper(
            self.tables, self.store, self.service.look, lambda: self.others, self.clock, looked, look_seconds=0,
            allowance=Allowance(),
        )  # fmt: skip
        self.serve_with(*timers)

    def serve_with(self, *timers: TimerSpec) -> None:
        revision = self.tables.revisions.get("acme", self.tables.roles.get("acme", "cat").stable)  # type: ignore[union-attr]
        assert revision is not None
        self.pod(f"pod-{id(self)}", turn=playing(role(*timers)), bound=Bound(hash=revision.spec.hash, timers=timers))

    async def __aenter__(self) -> "Timed":
        await self.pool.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.service.stop(0)
        await self.pool.stop()

    async def look(self) -> None:
        await self.keeper.tick()
        await self.keeper.idle()

    async def later(self, ms: int) -> None:
        self.clock.now_ms += ms
        await self.look()

    async def turns(self) -> list[TurnRecord]:
        return [record for record in await self.log() if isinstance(record, TurnRecord)]

    async def occasions(self) -> list[str]:
        return [record.occasion.hook for record in await self.turns() if record.occasion is not None]


async def begun(house: Timed, sid: str = "abc") -> Ear:
    handle, ear = await house.attach(sid)
    await handle.say(Said(message="hello"))
    return ear
