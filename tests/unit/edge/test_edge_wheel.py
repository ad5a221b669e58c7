"""The wheel rings everybody once, never early, and nobody who was taken off it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.gateway.edge.wheel import SPOKE_SECONDS, Wheel


class Handle:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clockwork:
    """A loop whose time goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None], Handle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        self.timers.append((when, callback, handle := Handle()))
        return handle

    def go(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end and not timer[2].cancelled]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = end

    @property
    def set(self) -> int:
        return sum(not handle.cancelled for _, _, handle in self.timers)


class Socket:
    def __init__(self, loop: Clockwork, then: Callable[[], None] = lambda: None) -> None:
        self.spoke, self.rung = 0, list[float]()
        self._loop, self._then = loop, then

    def ring(self) -> None:
        self.rung.append(self._loop.now)
        self._then()


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-1, 3), st.floats(0, 2)), max_size=30))
def test_all_are_rung_once_and_when_they_are_due(steps: list[tuple[int, float, float]]) -> None:
    loop = Clockwork()
    wheel, sockets = Wheel(lambda: loop), [Socket(loop) for _ in range(6)]
    due: dict[int, float] = {}
    for number, seconds, pause in steps:
        socket = sockets[number]
        socket.rung.clear()
        if seconds < 0:
            wheel.drop(socket)
            due.pop(number, None)
        else:
            wheel.put(socket, seconds)
            due[number] = loop.now + seconds
        loop.go(pause)
        for other, at in list(due.items()):
            rung = sockets[other].rung
            if rung:
                assert len(rung) == 1
                assert at - 1e-6 <= rung[0] <= at + 2 * SPOKE_SECONDS
                del due[other]
                rung.clear()
            else:
                assert at + 2 * SPOKE_SECONDS > loop.now
        assert not any(one.rung for number, one in enumerate(sockets) if number not in due)
        assert bool(due) <= loop.set <= 1


def test_who_is_taken_off_by_another_that_is_rung_is_not_rung() -> None:
    loop = Clockwork()
    wheel = Wheel(lambda: loop)
    both = [Socket(loop), Socket(loop)]
    for one, other in (both, both[::-1]):
        one._then = lambda other=other: wheel.drop(other)  # type: ignore[misc]
        wheel.put(one, 1)
    loop.go(2)
    assert len(both[0].rung) + len(both[1].rung) == 1


def test_who_puts_itself_back_at_once_comes_with_the_next_spoke() -> None:
    loop = Clockwork()
    wheel = Wheel(lambda: loop)
    socket = Socket(loop, lambda: wheel.put(socket, 0))
    wheel.put(socket, 0)
    loop.go(10 * SPOKE_SECONDS)
    assert 5 <= len(socket.rung) <= 11


def test_one_that_fails_keeps_nobody_from_being_rung() -> None:
    loop = Clockwork()
    wheel = Wheel(lambda: loop)
    bad, good = Socket(loop, lambda: [][0]), Socket(loop)
    wheel.put(bad, 1)
    wheel.put(good, 1.5)
    with pytest.raises(IndexError):
        loop.go(1.2)
    loop.go(2)
    assert len(good.rung) == 1
