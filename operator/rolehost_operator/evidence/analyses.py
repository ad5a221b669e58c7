"""Looks at the evidence of every rollout that goes on, each at its own interval, and rings its Role.

One Role's failure is its own. All read the same Prometheus, so few ask at a time and none at the same instant as
its neighbour. What was read stays in a ledger, and a look reads only what is new; an operator that begins anew reads
the rollout from its beginning, piece by piece.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from rolehost_api.crd.rollout import CustomMetric
from rolehost_api.promql import InvalidQuery, confined, quoted
from rolehost_operator.evidence.prometheus import Prometheus, Unanswered
from rolehost_operator.observed import Key, RoleSeen
from rolehost_operator.rollout.counting import (
    PULSE_SERIES,
    SESSIONS_SERIES,
    TURNS_SERIES,
    Ledger,
    Series,
    evidence,
    fold,
)
from rolehost_operator.rollout.evidence import Evidence, Sample
from rolehost_operator.rollout.sampling import MOST_SAMPLES, grid, samples
from rolehost_operator.telemetry import Metrics

log = logging.getLogger(__name__)

STAGES = frozenset({"Stepping", "Watching"})
SCAN_SECONDS = 1.0
AT_ONCE = 8
"""Looks that wait for Prometheus at a time."""
CUSTOMS_AT_ONCE = 4
"""Looks that wait for answers to tenants' own queries, one of a tenant: however long those take, counters are read."""
CUSTOMS_SECONDS = 8.0
"""For all of one Role's."""
CUSTOMS_LAST_SECONDS = 60.0
"""So long what they gave last stands in for what is to come."""
TELL_AFTER = 3
"""So many failures in a row are told in the log, once."""
PIECE_SECONDS = 3600.0
PIECES = 24
"""Of an hour each; more history than that is read by the next looks."""
OVERLAP_SECONDS = 60.0
"""Read again at every look: a slow scrape's samples come after a quick one's."""
SKEW_SECONDS = 900.0
"""Read before a rollout's beginning, for another operator's clock may have written that."""
EDGE = 0.05


@dataclass(slots=True)
class _Analysis:
    rollout: str
    due: float
    """By the loop's clock."""
    ledger: Ledger = field(default_factory=Ledger)
    read_to: float | None = None
    """By Prometheus' clock."""
    said: Evidence | None = None
    customs: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    customs_at: float | None = None
    """When those were read last, by Prometheus' clock."""
    good_at: float | None = None
    """When the last look was good, by the loop's clock."""
    failures: int = 0
    task: asyncio.Task[None] | None = None


class Analyses:
    """`roles`: those whose status tells of a rollout. `source`: None where no Prometheus is named."""

    def __init__(
        self,
        source: Prometheus | None,
        roles: Callable[[], Iterable[tuple[Key, RoleSeen]]],
        ring: Callable[[Key], None],
        metrics: Metrics,
        namespace: str = "",
        matchers: str = "",
    ) -> None:
        self._source = source
        self._roles = roles
        self._ring = ring
        self._metrics = metrics
        self._namespace = namespace
        self._matchers = matchers
        self._kept: dict[Key, _Analysis] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._customs_room = asyncio.Semaphore(CUSTOMS_AT_ONCE)
        self._tenants: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.leading = False

    def evidence_of(self, key: Key, rollout: str) -> Evidence:
        """What the last look at this rollout found; `missing` says why it found nothing."""
        kept = self._kept.get(key)
        if self._source is None:
            return Evidence(
                rollout,
                missing="PrometheusNotConfigured",
                detail="no Prometheus is named, so nothing is known of how sessions fare. Set prometheus.url of the "
                "chart, or decide yourself: rolehost rollout promote",
            )
        if kept is None or kept.rollout != rollout or kept.said is None:
            return Evidence(rollout, missing="NotLookedYet", detail="the first look at Prometheus is to come")
        return kept.said

    async def keep(self) -> None:
        """For ever."""
        try:
            while True:
                self.look_around(time.monotonic())
                await asyncio.sleep(min(SCAN_SECONDS, self._soonest(time.monotonic())))
        finally:
            tasks = [one.task for one in self._kept.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._source is not None:
                await self._source.close()

    def look_around(self, now: float) -> None:
        """Begin the looks that are due, and forget the rollouts that ended."""
        going: dict[Key, RoleSeen] = {}
        if self.leading and self._source is not None:
            going = {key: seen for key, seen in self._roles() if _goes_on(seen)}
        for key in self._kept.keys() - going.keys():
            self._forget(key)
        for key, seen in going.items():
            self._look_after(key, seen, now)
        self._measure(now)

    def _look_after(self, key: Key, seen: RoleSeen, now: float) -> None:
        if seen.status.rollout is None or seen.spec is None:
            return
        kept = self._kept.get(key)
        if kept is not None and kept.rollout != seen.status.rollout.id:
            self._forget(key)
            kept = None
        every = seen.spec.rollout.analysis.interval_seconds
        if kept is None:
            # Those of an operator that begins anew, and of a fleet that was edited at once, spread over an interval.
            kept = self._kept[key] = _Analysis(seen.status.rollout.id, now + random.uniform(0, min(every, 1)))  # noqa: S311
        if kept.task is None and kept.due <= now:
            kept.due = now + every * random.uniform(1 - EDGE, 1 + EDGE)  # noqa: S311
            kept.task = asyncio.create_task(self._look(key, seen, kept), name=f"evidence {key[0]}/{key[1]}")

    def _forget(self, key: Key) -> None:
        gone = self._kept.pop(key)
        if gone.task is not None:
            gone.task.cancel()

    def _soonest(self, now: float) -> float:
        return max(0.05, min((one.due - now for one in self._kept.values() if one.task is None), default=SCAN_SECONDS))

    def _measure(self, now: float) -> None:
        ages = [now - one.good_at for one in self._kept.values() if one.good_at is not None]
        self._metrics.analyses.set(len(self._kept))
        self._metrics.evidence_age.set(max(ages, default=0.0))

    # ── one look ────────────────────────────────────────────────────────────────────

    async def _look(self, key: Key, seen: RoleSeen, kept: _Analysis) -> None:
        try:
            async with self._room:
                said, now = await self._read(key, seen, kept)
            if not said.missing and seen.spec is not None and seen.spec.rollout.analysis.metrics:
                # What was counted waits for no query: a revision that is worse is rolled back meanwhile.
                kept.said = _with_last(said, kept, [one.name for one in seen.spec.rollout.analysis.metrics], now)
                self._ring(key)
                said = await self._with_customs(key, seen, kept, said, now)
        except Unanswered as error:
            said = _nothing(kept, error.code, str(error))
        except Exception:  # of one Role, and no reason to look at no other
            if kept.said is None or kept.said.missing != "AnalysisFailed":
                log.exception("%s/%s: its evidence could not be read", *key)
            said = _nothing(kept, "AnalysisFailed", "the operator could not read the evidence; its log says why")
        finally:
            kept.task = None
        self._tell(key, kept, said)
        kept.said = said
        self._ring(key)

    def _tell(self, key: Key, kept: _Analysis, said: Evidence) -> None:
        self._metrics.looked_at_evidence(said.missing)
        if not said.missing:
            if kept.failures >= TELL_AFTER:
                log.info("%s/%s: its evidence is there again", *key)
            kept.failures, kept.good_at = 0, time.monotonic()
            return
        kept.failures += 1
        kept.good_at = kept.good_at if kept.good_at is not None else time.monotonic()
        if kept.failures == TELL_AFTER:
            log.warning("%s/%s: no evidence (%s): %s", *key, said.missing, said.detail)

    async def _read(self, key: Key, seen: RoleSeen, kept: _Analysis) -> tuple[Evidence, float]:
        """What was counted, and Prometheus' time. Raises Unanswered."""
        assert self._source is not None
        now = await self._source.now()
        begun, _ = _beginnings(seen, now, datetime.now(UTC).timestamp())
        start = max(begun - SKEW_SECONDS, 0.0) if kept.read_to is None else kept.read_to
        selector = selector_of(key, kept.rollout, self._matchers)
        for _ in range(PIECES):
            to = min(now, start + PIECE_SECONDS)
            span = to - start + OVERLAP_SECONDS
            matrix: list[Series] = await self._source.samples(selector, to, span)
            kept.ledger = fold(kept.ledger, matrix, self._namespace)
            kept.read_to = start = to
            if to >= now:
                return evidence(kept.ledger, kept.rollout, now), now
        older = "the rollout is older than one look reads; the next ones go on"
        return _nothing(kept, "ReadingHistory", older), now

    async def _with_customs(self, key: Key, seen: RoleSeen, kept: _Analysis, said: Evidence, now: float) -> Evidence:
        metrics = seen.spec.rollout.analysis.metrics if seen.spec else []
        found: dict[str, tuple[Sample, ...]] = {}
        troubles: dict[str, str] = {}
        _, begun = _beginnings(seen, now, datetime.now(UTC).timestamp())
        async with self._tenants.setdefault(key[0], asyncio.Lock()), self._customs_room:
            until = asyncio.get_running_loop().time() + CUSTOMS_SECONDS
            for metric in metrics:
                try:
                    async with asyncio.timeout_at(until):
                        found[metric.name], why = await self._custom(key, seen, kept, metric, now, begun)
                except (InvalidQuery, Unanswered) as error:
                    why = str(error)
                except TimeoutError:
                    why = f"this Role's queries together took more than {CUSTOMS_SECONDS:.0f} s"
                if why:
                    troubles[metric.name] = why[:512]
        kept.customs = {name: some for name, some in found.items() if some}
        kept.troubles, kept.customs_at = troubles, now
        return replace(said, customs=kept.customs, metric_troubles=troubles)

    async def _custom(
        self, key: Key, seen: RoleSeen, kept: _Analysis, metric: CustomMetric, now: float, begun: float
    ) -> tuple[tuple[Sample, ...], str]:
        """Raises InvalidQuery, Unanswered."""
        assert self._source is not None
        assert seen.status.rollout is not None
        assert seen.spec is not None
        rollout = seen.status.rollout
        names = {"tenant": key[0], "role": key[1], "candidate": rollout.revision, "baseline": rollout.previous}
        query = confined(metric.prom_ql, names)
        every = seen.spec.rollout.analysis.interval_seconds
        at = grid(now, begun, every, kept.ledger.interval, min(metric.failure_limit, MOST_SAMPLES))
        if at is None:
            return (), "its first sample is to come"
        return samples(await self._source.grid(query, at.first, at.last, at.step), at)


def selector_of(key: Key, rollout: str, matchers: str = "") -> str:
    """Of all that gateways export of a rollout, and of the pulse that is there without any session.

    >>> selector_of(("acme", "cat"), "7f", 'namespace="rolehost-system"')
    '{__name__=~"rolehost_rollout_sessions_total|rolehost_rollout_turns_total|rolehost_slo_target",tenant="acme",role="cat",rollout=~"|7f",namespace="rolehost-system"}'
    """
    series = "|".join((SESSIONS_SERIES, TURNS_SERIES, PULSE_SERIES))
    made = [f"__name__=~{quoted(series)}", f"tenant={quoted(key[0])}", f"role={quoted(key[1])}"]
    made.append(f"rollout=~{quoted('|' + _literal(rollout))}")
    return "{" + ",".join([*made, *([matchers] if matchers else [])]) + "}"


def _literal(text: str) -> str:
    """As a regular expression that means itself."""
    return "".join(char if char.isalnum() or char in "-_" else f"\\{char}" for char in text)


def _goes_on(seen: RoleSeen) -> bool:
    rollout = seen.status.rollout
    return rollout is not None and rollout.stage in STAGES and bool(rollout.id) and seen.spec is not None


def _nothing(kept: _Analysis, reason: str, detail: str) -> Evidence:
    """What was known stays to be seen, and is said to be old."""
    before = kept.said or Evidence(kept.rollout)
    return replace(before, missing=reason, detail=detail, customs={}, metric_troubles={})


def _with_last(said: Evidence, kept: _Analysis, metrics: Iterable[str], now: float) -> Evidence:
    """With what the queries gave last, as long as that is of now; else they are missing, one by one."""
    if kept.customs_at is None or now - kept.customs_at > CUSTOMS_LAST_SECONDS:
        return replace(said, metric_troubles=dict.fromkeys(metrics, "its query is not answered yet"))
    return replace(said, customs=kept.customs, metric_troubles=kept.troubles)


def _beginnings(seen: RoleSeen, now: float, here: float) -> tuple[float, float]:
    """When the rollout and its step began, in seconds by Prometheus' clock; it is `now` there, and `here` on this machine."""
    rollout = seen.status.rollout
    if rollout is None:
        return now, now
    begun = since(rollout.started_at, now, here)
    return begun, max(begun, since(rollout.step_started_at, now, here)) if rollout.step_started_at else begun


def since(stamp: str, now: float, here: float) -> float:
    """A time of the status by Prometheus' clock. It was written by that one or by an operator's, who knows which; what lies
    ahead it cannot be, and of two that it can be the later one counts nothing that was before.

    >>> since("1970-01-01T00:16:40Z", now=1060, here=1060)
    1000.0
    >>> since("1970-01-01T00:16:40Z", now=1060, here=1660), since("1970-01-01T00:26:40Z", now=1060, here=1660)
    (1000.0, 1000.0)
    >>> since("", now=1060, here=1060)
    1060
    """
    try:
        at = datetime.fromisoformat(stamp).timestamp()
    except (ValueError, OverflowError):
        return now
    return max((one for one in (at, now - (here - at)) if one <= now), default=now)
