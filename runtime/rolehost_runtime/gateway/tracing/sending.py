"""Traces on their way to a Collector: a queue with a bound, and one sender that no turn waits for.

A Collector that is away, slow or answers nonsense costs what it is owed: the batch at hand is tried again with longer and
longer pauses while the queue fills, and what does not fit is dropped and counted.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge

from rolehost_runtime.gateway.tracing import otlp
from rolehost_runtime.gateway.tracing.spans import Attributes, Span
from rolehost_runtime.gateway.tracing.turn import TurnTrace

MAX_QUEUED_BYTES = 16 << 20
BATCH_BYTES = 512 << 10
"""Of one request, about."""
EVERY_SECONDS = 1.0
POST_SECONDS = 10.0
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between the tries of one batch; then it is given up."""
AT_ONCE = 16
"""Turns made into spans before others have their turn."""
AGAIN = frozenset({408, 429, 502, 503, 504})
"""Answers after which the same batch may be taken later."""
MAX_ANSWER_BYTES = 4096
LAST_SECONDS = 2.0

log = logging.getLogger(__name__)


class Post(Protocol):
    async def __call__(self, body: bytes) -> int:
        """The status. Raises OSError, TimeoutError or aiohttp.ClientError."""


class SpanSink:
    """What becomes of spans, by one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter("rolehost_spans_sent", "Spans that the Collector took.", registry=registry)
        self.dropped = Counter(
            "rolehost_spans_dropped",
            "Spans that were dropped, by why: the queue was full, the Collector refused them or could not be reached.",
            ["why"],
            registry=registry,
        )
        for why in ("queue_full", "refused", "unreachable", "stopping"):
            self.dropped.labels(why)
        self.queued = Gauge("rolehost_spans_queued_bytes", "What spans take that wait to be sent.", registry=registry)


@dataclass(frozen=True, slots=True)
class Sending:
    """How hard it is tried, and how much may wait meanwhile."""

    pauses: Sequence[float] = PAUSES
    every: float = EVERY_SECONDS
    most_bytes: int = MAX_QUEUED_BYTES


class Sender:
    """Implements tracer.Outlet, and app.Feed."""

    def __init__(
        self,
        post: Post,
        resource: Attributes,
        sink: SpanSink,
        sending: Sending = Sending(),
    ) -> None:
        self._post, self._resource, self._sink, self._how = post, resource, sink, sending
        self._queue: deque[TurnTrace] = deque()
        self._bytes = 0
        self._hand: tuple[bytes, int] | None = None
        """A batch that is being sent, and how many spans it holds."""
        self._told = asyncio.Event()
        self._complained = False
        sink.queued.set_function(lambda: self._bytes)

    def put(self, trace: TurnTrace) -> None:
        if self._bytes + trace.weight > self._how.most_bytes:
            self._sink.dropped.labels("queue_full").inc(trace.count)
            return
        self._queue.append(trace)
        self._bytes += trace.weight
        self._told.set()

    async def run(self) -> None:
        """For as long as the gateway lives."""
        while True:
            await self._told.wait()
            await asyncio.sleep(self._how.every)
            while self._queue:
                await self._send(self._how.pauses)
            self._told.clear()

    async def flush(self) -> None:
        """At the end: once more, in bounded time. What is left then is dropped, and counted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                while self._queue or self._hand:
                    await self._send(())
        left = sum(trace.count for trace in self._queue) + (self._hand[1] if self._hand else 0)
        self._queue.clear()
        self._hand = None
        if left:
            self._sink.dropped.labels("stopping").inc(left)

    async def _send(self, pauses: Sequence[float]) -> None:
        body, count = self._hand = self._hand or await self._batch()
        for pause in (*pauses, None):
            why = await self._try(body)
            if not why:
                self._hand, self._complained = None, False
                self._sink.sent.inc(count)
                return
            if pause is None or why == "refused":
                break
            await asyncio.sleep(pause)
        self._hand = None
        self._sink.dropped.labels(why).inc(count)
        if not self._complained:
            self._complained = True
            log.warning("traces cannot be sent (%s); those that have no room are dropped until they can", why)

    async def _batch(self) -> tuple[bytes, int]:
        """The oldest turns that one request holds, and how many spans that are."""
        found: list[bytes] = []
        count = size = 0
        wall, clock = time.time_ns(), time.monotonic()
        while self._queue and size < BATCH_BYTES:
            for _ in range(min(AT_ONCE, len(self._queue))):
                trace = self._queue.popleft()
                self._bytes -= trace.weight
                size += trace.weight
                told: list[Span] = trace.told(wall, clock)
                found += map(otlp.encode_span, told)
                count += len(told)
                if size >= BATCH_BYTES:
                    break
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self._sink.dropped.labels("stopping").inc(count)
                raise
        return otlp.encode(self._resource, found), count

    async def _try(self, body: bytes) -> str:
        """Why it was not taken; empty where it was."""
        try:
            status = await self._post(body)
        except (OSError, TimeoutError, aiohttp.ClientError):
            return "unreachable"
        if 200 <= status < 300:
            return ""
        return "unreachable" if status in AGAIN else "refused"


class HttpPost:
    """OTLP over HTTP, to one endpoint. Implements Post."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: of the Collector, e.g. http://collector:4318; /v1/traces is added."""
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, body: bytes) -> int:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=POST_SECONDS), auto_decompress=False, trust_env=False
            )
        headers = {"content-type": otlp.MEDIA_TYPE}
        async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
            await answer.content.read(MAX_ANSWER_BYTES)
            return answer.status

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
