"""One session's timers, looked at: what is due is a turn of its own, and what comes next is kept.

The turn is durable before the schedule moves on. Who dies in between leaves a timer that is due still; whoever looks at it
next finds in the log that it had its turn.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.link.messages import TimerSpec
from rolehost_runtime.core.occasions import Occasion
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.core.timers import Armed, Schedule, armed, decode, due, encode, end_of, failed, fired, moved
from rolehost_runtime.gateway.ports import HeldElsewhere, Superseded
from rolehost_runtime.gateway.sessions.arming import Arming

LATER_MS = 5_000
"""When a session that is answering somebody is looked at again."""


class Looked(Enum):
    """What came of it; a label of the metric."""

    FIRED = "fired"
    FAILED = "failed"
    LET_PASS = "let_pass"
    """It failed too often."""
    LATER = "later"
    """It is not its time, for the user spoke; or somebody is being answered."""
    GONE = "gone"
    """There is no such session, or no such timer, any more."""


class Speaking(Protocol):
    """The session, as its timers see it."""

    async def loaded(self) -> SessionFold: ...

    async def logic_timers(self, fold: SessionFold) -> tuple[str, Sequence[TimerSpec]]:
        """The revision of its next turn, and that one's timers. Raises Unavailable."""

    async def fire(self, occasion: Occasion, begun: list[str]) -> bool:
        """A turn for it. False: not now. Raises what it failed with; `begun` has the response then, if it had begun."""


async def look(arming: Arming, session: Speaking) -> Looked:
    """Raises Unavailable, HeldElsewhere or Superseded where it is to be tried again."""
    before = await arming.store.timers(arming.whose, arming.session_id)
    schedule = decode(before)
    fold = await session.loaded()
    if schedule is None or not fold.turn:
        await arming.store.drop_timers(arming.whose, arming.session_id)
        return Looked.GONE
    now = arming.now_ms
    if (end := end_of(schedule)) is not None:
        return await _fire(arming, session, before, schedule, end)
    revision, specs = await session.logic_timers(fold)
    schedule = armed(schedule, revision, specs, key=arming.key, spoke_ms=fold.spoke_ms, since_ms=now)
    schedule = moved(schedule, key=arming.key, spoke_ms=fold.spoke_ms)
    one = due(schedule, now)
    if one is None:
        await arming.keep(before, encode(schedule), schedule.next_ms)
        return Looked.LATER if schedule.timers else Looked.GONE
    return await _fire(arming, session, before, schedule, one)


async def _fire(arming: Arming, session: Speaking, before: bytes, schedule: Schedule, one: Armed) -> Looked:
    begun: list[str] = []
    arming.doubt()
    try:
        if not await session.fire(Occasion(one.hook, one.due_ms), begun):
            await arming.keep(before, encode(schedule), arming.now_ms + LATER_MS)
            return Looked.LATER
    except (HeldElsewhere, Superseded):
        raise
    except RolehostError as error:
        if isinstance(error, Unavailable) and not begun:
            raise
        after, again_ms = failed(schedule, one.hook, arming.now_ms)
        await arming.keep(before, encode(after), again_ms or after.next_ms)
        return Looked.FAILED if again_ms else Looked.LET_PASS
    after = fired(schedule, one.hook, arming.now_ms)
    await arming.keep(before, encode(after), after.next_ms)
    return Looked.FIRED
