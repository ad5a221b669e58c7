"""Bounds on one answer, on a clock that the test moves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rolehost_api.crd.modelbackend import Timeouts
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.broker.models import patience
from rolehost_runtime.gateway.broker.models.patience import Patience

BOUNDS = Timeouts(first_token_seconds=5, idle_seconds=10, total_seconds=60)


class Timer:
    def __init__(self, at: float, ring: Callable[[], None]) -> None:
        self.at, self.ring, self.off = at, ring, False

    def cancel(self) -> None:
        self.off = True


class Loop:
    """Of an event loop, what Patience takes: its clock and its timers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, ring: Callable[[], None]) -> Timer:
        self.timers.append(Timer(at, ring))
        return self.timers[-1]

    def until(self, now: float) -> None:
        while standing := sorted((one for one in self.timers if not one.off and one.at <= now), key=lambda one: one.at):
            self.now, standing[0].off = standing[0].at, True
            standing[0].ring()
        self.now = now


class Server:
    """Of an aiohttp.StreamReader, what Patience takes: nothing comes."""

    def __init__(self) -> None:
        self._told: asyncio.Future[bytes] | None = None

    async def readany(self) -> bytes:
        self._told = asyncio.Future()
        return await self._told

    def set_exception(self, error: Exception) -> None:
        assert self._told is not None
        self._told.set_exception(error)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(patience, "asyncio", made)
    monkeypatch.setattr(made, "get_running_loop", lambda: made, raising=False)
    return made


async def over_at(loop: Loop, waited: Patience, server: Any) -> float:
    """When the read that begins now is given up."""
    reading = asyncio.ensure_future(waited.read(server))
    while not reading.done():
        await asyncio.sleep(0)
        loop.until(loop.now + 1)
    with pytest.raises(RolehostError, match="too slow") as raised:
        await reading
    assert raised.value.code == "model_timeout"
    return loop.now


def begun(loop: Loop, deadline: float | None = None) -> tuple[Patience, Any]:
    server: Any = Server()
    waited = Patience(BOUNDS, deadline)
    waited.watch(server)
    return waited, server


@pytest.mark.parametrize(("deadline", "at"), [(None, 5), (3.0, 3)])
async def test_the_first_token_is_waited_for_until_its_bound_or_the_clients(
    loop: Loop, deadline: float | None, at: int
) -> None:
    assert at <= await over_at(loop, *begun(loop, deadline)) <= at + 1


async def test_between_two_tokens_the_silence_counts_from_when_the_first_was_taken(loop: Loop) -> None:
    waited, server = begun(loop)
    loop.until(44)  # whoever reads it holds the first token for so long
    waited.token()
    assert 54 <= await over_at(loop, waited, server) <= 55


async def test_an_answer_ends_with_its_time_whoever_it_was_that_took_it(loop: Loop) -> None:
    waited, server = begun(loop)
    loop.until(3)
    waited.token()
    loop.until(55)
    waited.token()
    assert 60 <= await over_at(loop, waited, server) <= 61


async def test_however_many_tokens_come_one_timer_stands(loop: Loop) -> None:
    waited, _ = begun(loop)
    for number in range(1000):
        loop.until(number / 100)
        waited.token()
    assert sum(not one.off for one in loop.timers) == 1
    assert len(loop.timers) < 10
    waited.done()
    assert all(one.off for one in loop.timers)
