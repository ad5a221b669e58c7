"""Whoever follows a state hears every version once and in order, whatever of it comes live and whatever has to be read."""

import asyncio
from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rooms import ACME, principal, role_entry

from rolehost_api import wire
from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.patch import apply
from rolehost_runtime.gateway.edge.grpc import watch
from rolehost_runtime.gateway.edge.grpc.watch import Follower
from rolehost_runtime.gateway.ports import EventsPage, Standing, StateView

RECENT = 6


class Log:
    """ports.Sessions, as far as a follower reads: a turn is two events, and its state counts. Reading takes time."""

    def __init__(self) -> None:
        self.version = 0
        self.fails = False

    def now_ms(self) -> int:
        return 1

    def change(self, version: int) -> wire.StateDelta:
        return wire.StateDelta(
            session_id="s", seq=2 * version - 1, ts=1, version=version, is_urgent=False,
            patch=(PatchOp("add", "/turns", version),),
        )  # fmt: skip

    async def standing(self, *_: Any) -> Standing:
        await asyncio.sleep(0)
        if self.fails:
            raise Unavailable("away", code="state_unavailable")
        at = Standing(2 * self.version, self.version)
        await asyncio.sleep(0)
        return at

    async def events(self, principal: Any, role: Any, session_id: str, after_seq: int) -> EventsPage:
        await asyncio.sleep(0)
        found: list[wire.ServerFrame] = [
            change
            for version in range(1, self.version + 1)
            if (change := self.change(version)).seq is not None and change.seq > after_seq
        ]
        page = EventsPage(found[:2], 0, more=len(found) > 2)
        await asyncio.sleep(0)
        return page

    async def state(self, *_: Any) -> StateView:
        await asyncio.sleep(0)
        seen = StateView(Standing(2 * self.version, self.version), {"turns": self.version} if self.version else {})
        await asyncio.sleep(0)
        return seen


class Client:
    """call.Call, as far as a follower uses it; it folds what it is told."""

    def __init__(self, version: int | None) -> None:
        self.paused = False
        self.version, self.state = version, {"turns": version} if version else {}
        self.refused: Any = None

    def send(self, event: wire.ServerFrame) -> None:
        assert isinstance(event, wire.StateDelta)
        whole = event.patch[0].path == ""
        assert whole or (self.version is not None and event.version == self.version + 1)
        self.version = event.version
        self.state = event.patch[0].value if whole else apply(self.state, event.patch, max_bytes=1000)

    def close(self, code: int, reason: str = "") -> None:
        raise AssertionError

    def refuse(self, error: Any) -> None:
        self.refused = error


class Gate:
    def __init__(self, log: Log) -> None:
        self.sessions, self.now_ms = log, log.now_ms


def following(log: Log, client: Client) -> Follower:
    return Follower(cast("Any", Gate(log)), principal(ACME), role_entry(), "s", cast("Any", client), client.version)


@pytest.fixture(autouse=True)
def recent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RECENT_EVENTS", RECENT)


HAPPENS = st.lists(st.sampled_from(["told", "untold", "turn of the loop", "history lost", "full", "room"]), max_size=30)


@given(HAPPENS, st.integers(0, 6), st.none() | st.integers(0, 8))
def test_every_version_once_in_order_and_the_last_one_at_the_end(
    happens: list[str], begun: int, has: int | None
) -> None:
    async def run() -> None:
        log, client = Log(), Client(has)
        log.version = begun
        follower = following(log, client)
        feeding = asyncio.ensure_future(follower.feed())
        for what in (*happens, "room", "told"):
            if what in ("told", "untold"):
                log.version += 1
            if what == "told":
                follower.send(log.change(log.version))
            elif what == "history lost":
                log.version = min(log.version, 1)
                follower.send(
                    wire.Resumed(session_id="s", seq=None, ts=1, from_seq=1, to_seq=1, gap=True, code="resume_lost")
                )
            elif what in ("full", "room"):
                client.paused = what == "full"
                follower.on_writable()
            else:
                await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        assert not feeding.done()
        assert (client.version, client.state) == (log.version, {"turns": log.version})
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding

    asyncio.run(run())


def test_who_cannot_be_told_is_told_why() -> None:
    async def run() -> None:
        log, client = Log(), Client(0)
        log.fails = True
        await following(log, client).feed()
        assert client.refused.code == "state_unavailable"

    asyncio.run(run())
