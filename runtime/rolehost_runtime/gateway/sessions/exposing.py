"""What was counted, as Prometheus' families. Numbers are taken at once; samples are made of them only where they are
written out, which may be beside the loop: thousands of Roles make a page of megabytes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Sample

from rolehost_api import slo
from rolehost_runtime.gateway.sessions.tally import Book, Times
from rolehost_runtime.gateway.sessions.trials import Counts, Group, Place

_ROLE = ("tenant", "role")
_SHARE = (*_ROLE, "rollout", "epoch", "revision", "arm", "percent")
NAN = float("nan")


class Late(Metric):
    """A family that makes its samples where they are asked for."""

    def __init__(self, family: Any, rows: Iterable[tuple[Any, ...]], of: Callable[..., tuple[Any, ...]]) -> None:
        """`of` makes `family.add_metric`'s arguments of a row."""
        self._family, self._rows, self._of = family, list(rows), of
        super().__init__(family.name, family.documentation, family.type, family.unit)

    @property
    def samples(self) -> list[Sample]:
        while self._rows:
            self._family.add_metric(*self._of(*self._rows.pop()))
        made: list[Sample] = self._family.samples
        return made

    @samples.setter
    def samples(self, empty: list[Sample]) -> None:
        """A family has none when it is made."""


def families(
    books: Mapping[Place, Book], gone: Collection[tuple[str, ...]], counts: Mapping[Place, Mapping[Group, Counts]]
) -> Iterator[Metric]:
    """`gone`: Roles (places) that were deleted: what they promised is NaN."""
    yield from _promises(books, gone)
    yield from _turns(books)
    yield from _times(books)
    yield from _rollouts(counts)


def _promises(books: Mapping[Place, Book], gone: Collection[tuple[str, ...]]) -> Iterator[Metric]:
    targets: list[tuple[Any, ...]] = []
    windows: list[tuple[Any, ...]] = []
    for place, book in books.items():
        for name in book.names():
            target = NAN if place in gone else book.targets.get(name, NAN)
            targets.append(((*place, name), target))
            windows.append(((*place, name), book.window))
    labels = (*_ROLE, "objective")
    told = "Share of good turns that a Role promises; NaN for an hour once it promises that no more."
    yield Late(GaugeMetricFamily(slo.TARGET, told, labels=labels), targets, _as_it_is)
    told = "Rolling window of the promise, in seconds."
    yield Late(GaugeMetricFamily(slo.WINDOW, told, labels=labels), windows, _as_it_is)


def _turns(books: Mapping[Place, Book]) -> Iterator[Metric]:
    counted: list[tuple[Any, ...]] = []
    excluded: list[tuple[Any, ...]] = []
    for place, book in books.items():
        excluded += [((*place, why), count) for why, count in book.excluded.items()]
        for revision, tally in book.tallies.items():
            for name, (good, bad) in tally.cells.items():
                counted.append(((*place, revision, name, slo.GOOD), good))
                counted.append(((*place, revision, name, slo.BAD), bad))
    family = CounterMetricFamily(
        slo.TURNS,
        "Turns that kept or broke a promise.",
        labels=(*_ROLE, "revision", "objective", "outcome"),
    )
    yield Late(family, counted, _as_it_is)
    family = CounterMetricFamily(
        slo.EXCLUDED,
        "Turns that not all promises count, by why: cancelled by the client, invalid, limited, or unasked.",
        labels=(*_ROLE, "why"),
    )
    yield Late(family, excluded, _as_it_is)


def _times(books: Mapping[Place, Book]) -> Iterator[Metric]:
    first: list[tuple[Any, ...]] = []
    total: list[tuple[Any, ...]] = []
    for place, book in books.items():
        for revision, tally in book.tallies.items():
            first.append(((*place, revision), tally.first.taken()))
            total.append(((*place, revision), tally.total.taken()))
    labels = (*_ROLE, "revision")
    family = HistogramMetricFamily("rolehost_turn_first_token_seconds", "Accepted to first text.", labels=labels)
    yield Late(family, first, _as_buckets)
    family = HistogramMetricFamily("rolehost_turn_seconds", "Accepted to durable.", labels=labels)
    yield Late(family, total, _as_buckets)


def _rollouts(counts: Mapping[Place, Mapping[Group, Counts]]) -> Iterator[Metric]:
    sessions: list[tuple[Any, ...]] = []
    turns: list[tuple[Any, ...]] = []
    for place, groups in counts.items():
        for (rollout, epoch), one in groups.items():
            where = (*place, rollout, str(epoch))
            sessions += [((*where, *labels), count) for labels, count in one.sessions.items()]
            turns += [((*where, *labels), count) for labels, count in one.turns.items()]
    family = CounterMetricFamily(
        slo.SESSIONS,
        "Sessions that a rollout assigned: once each, and once for each objective and stratum that is decided.",
        labels=(*_SHARE, "known", "objective", "stratum", "outcome"),
    )
    yield Late(family, sessions, _as_it_is)
    family = CounterMetricFamily(slo.ROLLOUT_TURNS, "Turns of sessions that a rollout assigned.", labels=_SHARE)
    yield Late(family, turns, _as_it_is)


def _as_it_is(labels: tuple[str, ...], value: float) -> tuple[Any, ...]:
    return labels, value


def _as_buckets(labels: tuple[str, ...], times: Times) -> tuple[Any, ...]:
    return labels, times.buckets(), times.sum_ms / 1000
