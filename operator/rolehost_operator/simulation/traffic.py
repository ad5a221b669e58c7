"""Sessions that never were: when they begin, on which side, and which of their turns fail."""

import math
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from rolehost_api.slo import FIRST, FIRST_TURNS, LATER, WHOLE

STRATA = (WHOLE, FIRST, LATER)


class Model(Enum):
    """How failures and arrivals hang together. All but the first hold for both arms alike."""

    IID = "iid"
    """Every turn fails by itself."""
    CLUSTERED = "clustered"
    """One session in CLUSTER has all the failures, CLUSTER times as many."""
    BURSTY = "bursty"
    """Of every 50 s, 10 bring 4.2 times as many sessions and twice the failures, the others a fifth of the sessions."""
    DRIFTING = "drifting"
    """Failures swing by half in 15 minutes, and about every 7 minutes a shared outage fails 3 turns in 10 for 1 minute."""


CLUSTER = 5
_OUTAGE_EVERY, _OUTAGE_SECONDS, _OUTAGE_FAILS = 400.0, 60, 0.3


@dataclass(frozen=True, slots=True)
class Traffic:
    """What comes, and what is true of it."""

    rate: float = 5.0
    """New sessions a second, on average."""
    stable: float = 0.01
    """Turns that fail on the stable revision."""
    candidate: float = 0.01
    """Turns that fail on the new one."""
    worse_by: float = 0.0
    """Above it: so many more of its sessions are bad than on stable, at every moment; `candidate` is then not looked at."""
    steps: tuple[tuple[int, int], ...] = ((5, 600),)
    """Percent of new sessions to the new revision, and for how many seconds."""
    pace: float = 6.0
    """Seconds from one turn of a session to the next."""
    model: Model = Model.IID
    grain: int = 1
    """Seconds whose sessions begin together: coarser is quicker, and finer than a look is not seen."""

    @property
    def seconds(self) -> int:
        return sum(seconds for _, seconds in self.steps)


Series = list[int]
"""A count for every second."""


@dataclass(slots=True)
class Epoch:
    """What gateways count of one step: by side (candidate first), then by stratum: good and bad."""

    percent: int
    assigned: tuple[Series, Series]
    scores: tuple[dict[str, tuple[Series, Series]], dict[str, tuple[Series, Series]]]


@dataclass(slots=True)
class Seen:
    """All that happened, each at the second in which a gateway counts it."""

    seconds: int
    epochs: list[Epoch] = field(default_factory=list)
    good_turns: Series = field(default_factory=list)
    """Of the candidate; for rules that look at turns."""
    bad_turns: Series = field(default_factory=list)


def session_fails(turn_fails: float, turns: int = FIRST_TURNS) -> float:
    """Share of bad sessions where every turn fails by itself.

    >>> round(session_fails(0.01), 4), round(session_fails(0.05), 4)
    (0.049, 0.2262)
    """
    return 1 - (1 - turn_fails) ** turns


def share_of_bad(turn_fails: float, model: Model, turns: int = FIRST_TURNS) -> float:
    """Share of bad sessions by the model, without its weather.

    >>> [round(share_of_bad(0.05, model), 4) for model in (Model.IID, Model.CLUSTERED)]
    [0.2262, 0.1525]
    """
    if model is Model.CLUSTERED:
        return session_fails(min(1.0, CLUSTER * turn_fails), turns) / CLUSTER
    return session_fails(turn_fails, turns)


def poisson(rng: Random, mean: float) -> int:
    """How many come where `mean` are expected; a mean of at most 500."""
    if not mean:
        return 0
    floor, product, count = math.exp(-mean), rng.random(), 0
    while product > floor:
        product *= rng.random()
        count += 1
    return count


def draw(rng: Random, traffic: Traffic) -> Seen:
    """One run of this traffic."""
    length, model = traffic.seconds, traffic.model
    seen = Seen(length, good_turns=[0] * length, bad_turns=[0] * length)
    outages = _outages(rng, length) if model is Model.DRIFTING else frozenset()
    begin = 0
    for percent, lasts in traffic.steps:
        epoch = _epoch(percent, length)
        seen.epochs.append(epoch)
        for second in range(begin, begin + lasts, traffic.grain):
            for side, part in enumerate((percent / 100, 1 - percent / 100)):
                _one_second(rng, traffic, seen, epoch, side, second, part, outages)
        begin += lasts
    return seen


def _one_second(
    rng: Random,
    traffic: Traffic,
    seen: Seen,
    epoch: Epoch,
    side: int,
    second: int,
    part: float,
    outages: frozenset[int],
) -> None:
    """What begins on one side. Each kind of session comes by itself, for a part of a random stream is one too."""
    alike = side == 1 or traffic.worse_by > 0
    crowd, fails = _weather(traffic.model, second, traffic.stable if alike else traffic.candidate, outages)
    mean, bad = traffic.rate * traffic.grain * crowd * part, share_of_bad(fails, traffic.model)
    worse = traffic.worse_by if side == 0 else 0.0
    for _ in range(poisson(rng, mean * bad)):
        _count(seen, epoch, side, second, bad_session(rng, fails, traffic.model), traffic.pace)
    for _ in range(poisson(rng, mean * worse)):
        one = int(rng.random() * FIRST_TURNS)
        _count(seen, epoch, side, second, [turn == one for turn in range(FIRST_TURNS)], traffic.pace)
    if good := poisson(rng, mean * (1 - bad - worse)):
        _count(seen, epoch, side, second, [False] * FIRST_TURNS, traffic.pace, good)


def _epoch(percent: int, length: int) -> Epoch:
    def series() -> tuple[Series, Series]:
        return [0] * length, [0] * length

    return Epoch(percent, series(), tuple({stratum: series() for stratum in STRATA} for _ in range(2)))  # type: ignore[arg-type]


def _outages(rng: Random, length: int) -> frozenset[int]:
    seconds: set[int] = set()
    start = rng.expovariate(1 / _OUTAGE_EVERY)
    while start < length:
        seconds.update(range(int(start), int(start) + _OUTAGE_SECONDS))
        start += _OUTAGE_SECONDS + rng.expovariate(1 / _OUTAGE_EVERY)
    return frozenset(seconds)


def _weather(model: Model, second: int, fails: float, outages: frozenset[int]) -> tuple[float, float]:
    """Times as many sessions as on average, and the share of turns that fail now."""
    if model is Model.BURSTY:
        return (4.2, min(1.0, 2 * fails)) if second % 50 < 10 else (0.2, fails)
    if model is Model.DRIFTING:
        fails = min(1.0, fails * (1 + 0.5 * math.sin(second * math.tau / 900)))
        return 1.0, 1 - (1 - fails) * (1 - _OUTAGE_FAILS) if second in outages else fails
    return 1.0, fails


def bad_session(rng: Random, fails: float, model: Model) -> list[bool]:
    """Of a session that is bad: for each of the first turns, whether it fails."""
    if model is Model.CLUSTERED:
        fails = min(1.0, CLUSTER * fails)
    # The first one that fails, of those sessions in which one does; those after it fail by themselves.
    first = int(math.log1p(-rng.random() * session_fails(fails)) / math.log1p(-fails)) if fails < 1 else 0
    first = min(first, FIRST_TURNS - 1)
    return [turn == first or (turn > first and rng.random() < fails) for turn in range(FIRST_TURNS)]


def _count(seen: Seen, epoch: Epoch, side: int, opened: int, turns: list[bool], pace: float, sessions: int = 1) -> None:
    """As a gateway does: bad with the first bad turn, good with the last one."""
    epoch.assigned[side][opened] += sessions
    for stratum, begin, end in ((WHOLE, 0, FIRST_TURNS), (FIRST, 0, 1), (LATER, 1, FIRST_TURNS)):
        bad = next((turn for turn in range(begin, end) if turns[turn]), None)
        second = int(opened + pace * (end - 1 if bad is None else bad))
        if second < seen.seconds:
            epoch.scores[side][stratum][bad is not None][second] += sessions
    if side == 0:
        for turn, failed in enumerate(turns):
            second = int(opened + pace * turn)
            if second < seen.seconds:
                (seen.bad_turns if failed else seen.good_turns)[second] += sessions
