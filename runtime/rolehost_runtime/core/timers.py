"""When a session's timers are due. Pure; times are milliseconds since 1970, UTC.

`on_idle` counts from the user's last turn, which the log knows, so what is kept of it may be older than that: where it is
looked at it moves on. It is due once for each silence. `every` keeps its beat: what was missed is made up for once, and the
next one is due when it would have been anyway.
"""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from rolehost_api.link.messages import TimerSpec

MAX_TRIES = 3
"""Turns of one timer that may fail before it is let pass."""
RETRY_SECONDS = 60
MOST_JITTER_MS = 60_000
END = "on_end"


class Armed(Struct, frozen=True, array_like=True):
    """One timer of one session."""

    hook: str
    event: str
    seconds: int
    due_ms: int
    """0: it waits for the user's next word."""
    tries: int = 0
    """That failed since it is due."""


class Schedule(Struct, frozen=True, array_like=True):
    """All timers of one session, as its revision has them."""

    revision: str
    timers: tuple[Armed, ...] = ()

    @property
    def next_ms(self) -> int | None:
        """When to look at it; None: not before the user says something."""
        return min((one.due_ms for one in self.timers if one.due_ms), default=None)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Schedule).decode


def encode(schedule: Schedule) -> bytes:
    return _encode(schedule)


def decode(body: bytes) -> Schedule | None:
    """None for what cannot be read: the next message makes another one."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def jitter_ms(key: str, hook: str, seconds: int) -> int:
    """How much later than exactly it is due: the same for one session, up to a tenth of the time and a minute.

    >>> 0 <= jitter_ms("k", "every:tick", 60) < 6_000, jitter_ms("k", "every:tick", 60) == jitter_ms("k", "every:tick", 60)
    (True, True)

    Without a key, in tests of a Role, it is exact.
    """
    if not key:
        return 0
    most = min(100 * seconds, MOST_JITTER_MS)
    drawn = hashlib.blake2b(f"{key}/{hook}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(drawn, "big") % most


def after(spoke_ms: int, one: Armed | TimerSpec, key: str) -> int:
    """When it is due for the first time after that."""
    return spoke_ms + 1000 * one.seconds + jitter_ms(key, one.hook, one.seconds)


def armed(
    before: Schedule | None, revision: str, specs: Sequence[TimerSpec], *, key: str, spoke_ms: int, since_ms: int = 0
) -> Schedule:
    """The timers of that revision, for a session that said something just then.

    One that is running already keeps its beat; with another duration, or new in this revision, it begins anew from
    `spoke_ms` or, where that is later, from `since_ms`: what nobody could have heard of is not made up for.

    >>> tick = TimerSpec("every:tick", "every", 60)
    >>> first = armed(None, "cat-1", [tick], key="k", spoke_ms=1_000)
    >>> armed(first, "cat-2", [tick], key="k", spoke_ms=50_000).timers == first.timers
    True
    >>> armed(first, "cat-3", [], key="k", spoke_ms=50_000).next_ms is None
    True
    """
    known = {(one.hook, one.event, one.seconds): one for one in before.timers} if before is not None else {}
    timers = []
    for spec in specs:
        there = known.get((spec.hook, spec.event, spec.seconds))
        if there is None or (spec.event == "on_idle" and not since_ms):
            due_ms = after(max(spoke_ms, since_ms), spec, key)
            there = Armed(spec.hook, spec.event, spec.seconds, due_ms)
        timers.append(there)
    return Schedule(revision, tuple(timers))


def ending(revision: str, now_ms: int) -> Schedule:
    """In place of all timers, where the conversation is ended: one turn more, as soon as may be.

    >>> over = ending("cat-1", 5)
    >>> end_of(over).due_ms, end_of(fired(over, "on_end", 9)), fired(over, "on_end", 9).next_ms, end_of(Schedule("cat-1"))
    (5, None, None, None)
    """
    return Schedule(revision, (Armed(END, END, 1, now_ms),))


def end_of(schedule: Schedule) -> Armed | None:
    """Its end, where that is still to come."""
    return next((one for one in schedule.timers if one.event == END and one.due_ms), None)


def moved(schedule: Schedule, *, key: str, spoke_ms: int) -> Schedule:
    """With the silence counted from the user's last turn.

    >>> idle = Schedule("cat-1", (Armed("on_idle:nudge", "on_idle", 60, 60_000),))
    >>> moved(idle, key="k", spoke_ms=50_000).next_ms == 110_000 + jitter_ms("k", "on_idle:nudge", 60)
    True
    """
    return replace(
        schedule,
        timers=tuple(
            replace(one, due_ms=later) if (later := _idle_until(one, key, spoke_ms)) > one.due_ms else one
            for one in schedule.timers
        ),
    )


def _idle_until(one: Armed, key: str, spoke_ms: int) -> int:
    return after(spoke_ms, one, key) if one.event == "on_idle" and one.due_ms else 0


def due(schedule: Schedule, now_ms: int) -> Armed | None:
    """The one that is due first."""
    return min((one for one in schedule.timers if 0 < one.due_ms <= now_ms), key=lambda one: one.due_ms, default=None)


def fired(schedule: Schedule, hook: str, now_ms: int) -> Schedule:
    """That timer's turn is durable, or it is let pass. After a day without anybody who could answer, once an hour:

    >>> hour = 3_600_000
    >>> hourly = Schedule("cat-1", (Armed("every:tick", "every", 3_600, hour),))
    >>> fired(hourly, "every:tick", 25 * hour + 5).next_ms == 26 * hour      # 23 times are not made up for
    True
    >>> nudged = Schedule("cat-1", (Armed("on_idle:nudge", "on_idle", 60, 60_000),))
    >>> fired(nudged, "on_idle:nudge", 61_000).next_ms is None
    True
    """
    return replace(schedule, timers=tuple(_passed(one, now_ms) if one.hook == hook else one for one in schedule.timers))


def _passed(one: Armed, now_ms: int) -> Armed:
    if one.event != "every":
        return replace(one, due_ms=0, tries=0)
    period = 1000 * one.seconds
    missed = max(0, now_ms - one.due_ms) // period
    return replace(one, due_ms=one.due_ms + (missed + 1) * period, tries=0)


def failed(schedule: Schedule, hook: str, now_ms: int) -> tuple[Schedule, int | None]:
    """That timer's turn failed: what is kept then, and when to look at it again (None: as it says itself).

    >>> idle = Schedule("cat-1", (Armed("on_idle:nudge", "on_idle", 600, 60_000),))
    >>> once, at = failed(idle, "on_idle:nudge", 100_000)
    >>> twice, later = failed(once, "on_idle:nudge", 200_000)
    >>> at, later, failed(twice, "on_idle:nudge", 400_000)[0].next_ms
    (160000, 320000, None)
    """
    one = next((one for one in schedule.timers if one.hook == hook), None)
    if one is None or one.tries + 1 >= MAX_TRIES:
        return fired(schedule, hook, now_ms), None
    timers = tuple(replace(other, tries=other.tries + 1) if other is one else other for other in schedule.timers)
    return replace(schedule, timers=timers), now_ms + 1000 * (min(RETRY_SECONDS, one.seconds) << one.tries)
