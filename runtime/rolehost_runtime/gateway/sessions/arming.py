"""A session's timers, as the store is told of them: before the turn is durable that begins them, and not again.

A turn waits for the store only where its session's timers are not known to be there: in the first one that this gateway
answers, after a timer went off, and where its revision has others. What the user says meanwhile moves `on_idle` without a
word to the store: whoever looks at it when it is due asks the log (`core.timers`).
"""

from collections.abc import Callable, Sequence

from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import Degraded, TimerSpec
from rolehost_runtime.core.timers import armed, decode, encode
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.timers import MAX_TIMED, TimerStore

TIMERS = "timers"
"""In place of a hook's name in `degraded`."""
NOTED_MS = 3_600_000
"""So often it is said again that a Role has timers."""
TRIES = 3


class Timed:
    """What the sessions of one process share about timers."""

    def __init__(self, store: TimerStore, now_ms: Callable[[], int], most: int = MAX_TIMED) -> None:
        """`most`: sessions of one Role that have timers."""
        self.store, self.now_ms, self.most = store, now_ms, most
        self._noted: dict[tuple[str, str], int] = {}

    async def note(self, tenant_uid: str, role: str) -> None:
        """See to it that every gateway looks at this Role's timers. Raises Unavailable."""
        now, place = self.now_ms(), (tenant_uid, role)
        if now - self._noted.get(place, -NOTED_MS) >= NOTED_MS:
            await self.store.note_timed(*place, now)
            self._noted[place] = now


class Arming:
    def __init__(self, timed: Timed, whose: Whose, session_id: str, key: str) -> None:
        self._timed, self.whose, self.session_id, self.key = timed, whose, session_id, key
        self._armed: tuple[str, Sequence[TimerSpec]] | None = None
        """For which revision, where it is known that the store has them."""

    @property
    def store(self) -> TimerStore:
        return self._timed.store

    @property
    def now_ms(self) -> int:
        return self._timed.now_ms()

    def doubt(self) -> None:
        """The next turn tells the store again."""
        self._armed = None

    async def arm(self, revision: str, specs: Sequence[TimerSpec], spoke_ms: int) -> tuple[Degraded, ...]:
        """The user said something then. What the turn goes on without, where the timers could not be set."""
        if not specs or self._armed == (revision, specs):
            return ()
        try:
            await self._timed.note(self.whose.tenant_uid, self.whose.role)
            for _ in range(TRIES):
                before = await self.store.timers(self.whose, self.session_id)
                schedule = armed(decode(before), revision, specs, key=self.key, spoke_ms=spoke_ms)
                if await self.keep(before, encode(schedule), schedule.next_ms):
                    self._armed = (revision, specs)
                    return ()
        except RolehostError as error:
            return (Degraded(TIMERS, error.code),)
        return (Degraded(TIMERS, "superseded"),)

    async def keep(self, before: bytes, body: bytes, at_ms: int | None) -> bool:
        """As TimerStore.set_timers."""
        return await self.store.set_timers(self.whose, self.session_id, before, body, at_ms, self._timed.most)
