"""Durations as role logic writes them: how long is idle, how often is every."""

import re
from datetime import timedelta

from rolehost_api.errors import LogicError
from rolehost_api.link.messages import MAX_TIMER_SECONDS

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WRITTEN = re.compile(r"(?:([0-9]{1,7})d)?(?:([0-9]{1,7})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,7})s)?")
HINT = 'Write e.g. "10m", "1h30m" or "1d", or give a timedelta of whole seconds'


def seconds_of(period: object) -> int:
    """Seconds of a duration: numbers with d, h, m, s, the larger unit first; or a timedelta of whole seconds.

    >>> seconds_of("10m"), seconds_of("1h30m"), seconds_of("1d"), seconds_of(timedelta(minutes=2))
    (600, 5400, 86400, 120)

    Raises LogicError `invalid_timer` for anything else, and for none or more than 30 days.
    """
    if isinstance(period, timedelta):
        seconds, part = divmod(period, timedelta(seconds=1))
        if part:
            raise LogicError(f"{period} is no number of whole seconds", hint=HINT, code="invalid_timer")
    elif isinstance(period, str) and period and (written := _WRITTEN.fullmatch(period)):
        seconds = sum(int(number or 0) * unit for number, unit in zip(written.groups(), _UNITS.values(), strict=True))
    else:
        shown = repr(period)[:40] if isinstance(period, str) else type(period).__name__
        raise LogicError(f"{shown} is no duration", hint=HINT, code="invalid_timer")
    if not 0 < seconds <= MAX_TIMER_SECONDS:
        raise LogicError(
            f"a duration is over 0 and at most {MAX_TIMER_SECONDS // 86_400} days", hint=HINT, code="invalid_timer"
        )
    return seconds


def written(seconds: int) -> str:
    """
    >>> written(600), written(5400), written(86_400), written(61)
    ('10m', '1h30m', '1d', '1m1s')
    """
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)
