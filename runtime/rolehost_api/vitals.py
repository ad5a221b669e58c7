"""How a process of the platform is: how late its event loop is, how long it stops to look for garbage, what it takes.

The loop's lag is how much later than asked a timer goes off: whatever a client sends waits at least so long. Numbers are
plain ints until somebody scrapes: garbage is collected at any time, in the middle of a scrape too, and a callback that
took a lock of a metric then would wait for itself.
"""

import asyncio
import gc
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
PAUSE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
LOOK_SECONDS = 0.25
"""Between two looks at the loop."""
GENERATIONS = 3


class Buckets:
    """A histogram of seconds, in ints.

    >>> seen = Buckets((0.1, 1))
    >>> for seconds in (0.05, 0.1, 0.5, 7): seen.saw(seconds)
    >>> seen.cumulated(), seen.total
    ([('0.1', 2), ('1.0', 3), ('+Inf', 4)], 7.65)
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def saw(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> list[tuple[str, int]]:
        """So many of at most so much, as Prometheus wants them."""
        found, so_far = [], 0
        for bound, count in zip((*map(str, map(float, self._bounds)), "+Inf"), self._counts, strict=True):
            so_far += count
            found.append((bound, so_far))
        return found


class Vitals(Collector):
    """Of this process and its loop, by one registry; from `start`, on a running loop, to `stop`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Buckets(LAG_BUCKETS)
        self._pauses = [Buckets(PAUSE_BUCKETS) for _ in range(GENERATIONS)]
        self._began = 0.0
        self._handle: asyncio.TimerHandle | None = None
        registry.register(self)
        ProcessCollector(registry=registry)

    def start(self) -> None:
        if self._handle is None:
            gc.callbacks.append(self._collected)
            self._look_again()

    def stop(self) -> None:
        """Harmless twice."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            gc.callbacks.remove(self._collected)

    def _look_again(self) -> None:
        due = time.monotonic() + LOOK_SECONDS
        self._handle = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._looked, due)

    def _looked(self, due: float) -> None:
        self._lag.saw(max(0.0, time.monotonic() - due))
        self._look_again()

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        elif self._began:
            self._pauses[info["generation"]].saw(time.perf_counter() - self._began)

    def collect(self) -> Iterable[Metric]:
        lag = HistogramMetricFamily(
            "rolehost_event_loop_lag_seconds", "How much later than asked a timer of the event loop goes off."
        )
        lag.add_metric([], self._lag.cumulated(), self._lag.total)
        yield lag
        pauses = HistogramMetricFamily(
            "rolehost_gc_pause_seconds", "One look for garbage, while which nothing else runs.", labels=["generation"]
        )
        found = CounterMetricFamily(
            "rolehost_gc_unreachable_objects", "Objects that looks for garbage found.", labels=["generation"]
        )
        for generation, (seen, stats) in enumerate(zip(self._pauses, gc.get_stats(), strict=True)):
            pauses.add_metric([str(generation)], seen.cumulated(), seen.total)
            found.add_metric([str(generation)], stats["collected"])
        yield pauses
        yield found
