"""A client's hold on its session: it keeps its place there, whichever gateway answers it."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.wire import HeardPart, Said
from rolehost_runtime.core.channels import Word
from rolehost_runtime.gateway.ports import Channel, HeldElsewhere, Moving, OwnerLost, Seat
from rolehost_runtime.gateway.sessions.ear import Ear

MAX_MOVES = 4
"""Places that one message is tried at before it is said that the session cannot be found a home."""
FOLLOW_SECONDS = 0.3
"""A client that says nothing follows its session within so long, at random: a gateway's end moves thousands."""
FOLLOW_AGAIN = (1.0, 2.0, 5.0, 10.0, 20.0)


class Seating(Protocol):
    """Where places come from."""

    async def place(self, channel: Channel, moved: Callable[[], None]) -> Seat:
        """A place at the session, here or at the gateway that answers it. Raises RolehostError."""

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else."""

    def unheard(self, error: RolehostError) -> None:
        """A message came to no session: nobody else counts it."""


class Handle:
    """Implements ports.SessionHandle."""

    def __init__(
        self,
        seating: Seating,
        session_id: str,
        channel: Channel,
        now_ms: Callable[[], int],
        allow: Callable[[str], object] = lambda revision: None,
    ) -> None:
        """`allow` raises where this client may not name that revision."""
        self.session_id, self._allow = session_id, allow
        self._seating = seating
        self._ear = Ear(channel, now_ms)
        self._seat: Seat | None = None
        self._place = 0
        """Numbers the places, so that news of an old one does not concern the new one."""
        self._sitting = asyncio.Lock()
        self._gone = False
        self._watches: Word | None = None
        """How it fares, where it follows the state beside other channels; said again wherever it sits."""

    async def say(self, said: Said) -> None:
        there: list[Seat] = []
        try:
            if said.revision:
                self._allow(said.revision)
            await self._say(said, there)
        except RolehostError as error:
            if not there:
                self._seating.unheard(error)
            raise

    async def _say(self, said: Said, there: list[Seat]) -> None:
        """`there`: where it came to its session, which failed with what this raises."""
        for _ in range(MAX_MOVES):
            seat = await self.sit()
            try:
                await seat.say(said)
                return
            except HeldElsewhere:
                self._leave(seat)
            except OwnerLost as lost:
                if self._gone:
                    raise
                self._leave(seat)
                if await self._answered_after(lost, said):
                    return
                if said.client_msg_id is None:
                    raise
            except BaseException:
                there.append(seat)
                raise
        raise Moving()

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        for _ in range(MAX_MOVES):
            seat = await self.sit()
            try:
                await seat.cancel(response_id, heard)
                return
            except HeldElsewhere:
                self._leave(seat)
            except OwnerLost:  # whoever takes the session over may be asked the same once more
                if self._gone:
                    raise
                self._leave(seat)
        raise Moving()

    async def resume(self, after_seq: int, *, whole: bool = False) -> None:
        for _ in range(MAX_MOVES):
            seat = await self.sit()
            try:
                await seat.resume(after_seq, whole=whole)
                return
            except (HeldElsewhere, OwnerLost):
                self._leave(seat)
        raise Moving()

    def watch(self, word: Word) -> None:
        self._watches = word
        if self._seat is not None:
            self._seat.watch(word)

    def detach(self) -> None:
        self._gone = True
        self._leave(self._seat)

    async def sit(self) -> Seat:
        """The place that it has, or a new one, with what was missed in between."""
        async with self._sitting:
            for _ in range(MAX_MOVES):
                if self._gone:
                    raise Unavailable("the client is gone", code="client_gone")
                if self._seat is not None:
                    return self._seat
                self._place += 1
                place = self._place
                seat = await self._seating.place(self._ear, lambda place=place: self._moved(place))  # type: ignore[misc]
                if self._gone or place != self._place:
                    seat.leave()  # lost again while it was being taken
                    continue
                self._seat = seat
                if self._watches is not None:
                    seat.watch(self._watches)
                try:
                    await self._catch_up(seat)
                except (HeldElsewhere, OwnerLost):
                    self._leave(seat)
            raise Moving()

    async def _catch_up(self, seat: Seat) -> None:
        if not self._ear.missed:
            return
        self._ear.catching_up(True)
        try:
            await seat.resume(self._ear.last)
        finally:
            self._ear.catching_up(False)

    async def _answered_after(self, lost: OwnerLost, said: Said) -> bool:
        """The owner died with our message: is it in the log after all, or answered anew by whoever took over?

        False: it may be said again, where its id tells it from another one. Raises what keeps us from finding out, or
        what the new answer failed with.
        """
        ours = lost.response_id
        hung = self._ear.hangs(ours)
        try:
            await self.sit()
            if self._ear.goes_on(ours):
                await self._ear.end_of(ours)
                return True
            return (hung and not self._ear.hangs(ours)) or said.client_msg_id in self._ear.answered
        finally:
            self._ear.give_up(lost)

    # ── moving ──────────────────────────────────────────────────────────────────────

    def _moved(self, place: int) -> None:
        if place != self._place or self._gone:
            return
        self._leave(self._seat)
        self._seating.go(self._follow())

    def _leave(self, seat: Seat | None) -> None:
        """That place is no more. Nothing where it is not ours any more."""
        if seat is self._seat:
            self._place += 1
            self._seat = None
            self._ear.lost()
        if seat is not None:
            seat.leave()

    async def _follow(self) -> None:
        """Go where the session went, for a client that only listens. Its next word would go there by itself."""
        await asyncio.sleep(random.random() * FOLLOW_SECONDS)  # noqa: S311
        for pause in (*FOLLOW_AGAIN, None):
            try:
                if not self._gone:
                    await self.sit()
                break
            except RolehostError:
                if pause is None:
                    break
                await asyncio.sleep(pause)
        self._ear.give_up(OwnerLost())
