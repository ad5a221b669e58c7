"""From values to places: ticks that people read, and words for values with a unit. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

MOST = 1e300
"""What is larger is as good as endless."""
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)


@dataclass(frozen=True, slots=True)
class Scale:
    """Linear, from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """
        >>> Scale(0, 10, 100, 0)(2.5)
        75.0
        """
        if self.high == self.low:
            return self.start
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values that cover `low` to `high`: at most `most` + 1 of them.

    >>> ticks(0, 0.87), ticks(0, 3), ticks(0, 0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 1.0, 2.0, 3.0], [0.0, 1.0])
    """
    if high <= low:
        return [low * 1.0, low + 1.0]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in _STEPS if power * one >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(at * step, 12) for at in range(first, last + 1)]


def moments(begin: float, end: float, most: int = 6) -> list[float]:
    """Unix seconds at round minutes between, at most about `most` of them.

    >>> [moment(at) for at in moments(1_700_000_000, 1_700_001_800, 4)]
    ['22:20', '22:30', '22:40']
    """
    step = 60.0 * next((one for one in _MINUTES if (end - begin) / 60 / one <= most), _MINUTES[-1])
    return [at * step for at in range(math.ceil(begin / step), math.floor(end / step) + 1)]


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")


def shown(value: float, unit: str) -> str:
    """As people write it.

    >>> shown(0.0123, "s"), shown(75, "s"), shown(0.034, "percentunit"), shown(3.2e6, "bytes"), shown(1250, "short")
    ('12.3 ms', '1.25 min', '3.4 %', '3.05 MiB', '1.25 K')
    >>> shown(float("nan"), "s"), shown(0.5, "reqps"), shown(1, "bool_yes_no")
    ('–', '0.5 /s', '1')
    """
    if math.isnan(value):
        return "–"
    if abs(value) > MOST:
        return "∞" if value > 0 else "-∞"
    match unit:
        case "s":
            return _seconds(value)
        case "percentunit":
            return f"{_plain(100 * value)} %"
        case "percent":
            return f"{_plain(value)} %"
        case "bytes" | "decbytes":
            return _divided(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
        case "Bps" | "binBps":
            return _divided(value, 1024, ("B/s", "KiB/s", "MiB/s", "GiB/s"))
        case "reqps" | "ops" | "cps" | "eps" | "wps" | "rps":
            return _divided(value, 1000, ("/s", "K/s", "M/s"))
        case _:
            return _divided(value, 1000, ("", "K", "M", "G")).strip()


def _seconds(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0 s"
    for below, factor, word in (
        (1e-3, 1e6, "µs"),
        (1, 1e3, "ms"),
        (60, 1, "s"),
        (3600, 1 / 60, "min"),
        (86_400, 1 / 3600, "h"),
    ):
        if size < below:
            return f"{_plain(value * factor)} {word}"
    return f"{_plain(value / 86_400)} d"


def _divided(value: float, by: int, words: Sequence[str]) -> str:
    at = 0
    while abs(value) >= by and at + 1 < len(words):
        value, at = value / by, at + 1
    return f"{_plain(value)} {words[at]}"


def _plain(value: float) -> str:
    """Three figures, no exponent, no zeros at the end."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
