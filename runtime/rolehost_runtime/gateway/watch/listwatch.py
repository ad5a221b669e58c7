"""List, then watch, for ever: the one loop that keeps a collection of objects known.

A listing replaces everything; a watch goes on from where the last one ended, and a new
listing is taken where the apiserver no longer knows that place (410). Events pass as they
come; what they mean is the sink's. One object that cannot be read is skipped and named,
and never stops the others.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Protocol, TypeVar

import aiohttp
import msgspec
from msgspec import Raw, Struct

from rolehost_api.crd.common import ObjectMeta
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.watch.api import Api, whole

log = logging.getLogger(__name__)

PAGE = 500
READ_SECONDS = 70.0
"""Silence after which a watch is opened anew. The apiserver sends bookmarks every 60 s, so a quiet one stays."""
WATCH_SECONDS = (240, 360)
BACKOFF_SECONDS = (0.2, 30.0)
MAX_LINE_BYTES = 8 << 20
MAX_LIST_BYTES = 64 << 20
GONE = 410

K = TypeVar("K", bound="Known")
T = TypeVar("T")


class Known(Protocol):
    @property
    def metadata(self) -> ObjectMeta: ...


class Sink(Protocol[T]):
    """Where objects go. Called in the order of the apiserver's events, from the loop's thread."""

    def replace(self, objects: list[T]) -> None:
        """All that there is."""

    def put(self, item: T) -> None: ...

    def drop(self, meta: ObjectMeta) -> None: ...


class _Meta(Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(Struct, frozen=True):
    metadata: _Meta
    items: list[Raw] = []


class _Event(Struct, frozen=True):
    type: str
    object: Raw


class _Status(Struct, frozen=True):
    code: int = 0


class _Bare(Struct, frozen=True):
    metadata: ObjectMeta


class Expired(Exception):
    """Our place in the history is gone: list anew."""


class Refused(Exception):
    """The apiserver said no; the text is its status code."""


_list = msgspec.json.Decoder(_List)
_event = msgspec.json.Decoder(_Event)
_status = msgspec.json.Decoder(_Status)
_bare = msgspec.json.Decoder(_Bare)


class ListWatch(Generic[K]):
    def __init__(
        self,
        api: Api,
        path: str,
        kind: type[K],
        sink: Sink[K],
        metrics: Metrics,
        *,
        labels: str = "",
        fields: str = "",
        name: str = "",
        chance: Callable[[], float] = random.random,
        pause: Callable[[float], Any] = asyncio.sleep,
        read_seconds: float = READ_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._path, self._sink, self._metrics = api, path, sink, metrics
        self._word = name or path.rpartition("/")[2]
        """In metrics: two watches of one kind of object are told apart."""
        self._decoder: msgspec.json.Decoder[K] = msgspec.json.Decoder(kind)
        self._query = {k: v for k, v in (("labelSelector", labels), ("fieldSelector", fields)) if v}
        self._chance, self._pause, self._read_seconds = chance, pause, read_seconds
        self._version = ""
        """Up to where we know everything; empty: list first."""
        self._failures = 0
        """In a row: a listing alone is no success, else a watch that always breaks would spin."""
        self._clock = clock
        self._heard_at = clock()
        self._number: int | None = None
        metrics.watch_ages[self._word] = lambda: clock() - self._heard_at

    @property
    def place(self) -> tuple[int, float] | None:
        """Up to which resourceVersion all is known, and for how many seconds nothing confirmed it. None: no listing yet."""
        return None if self._number is None else (self._number, self._clock() - self._heard_at)

    def _heard(self, version: str) -> None:
        """The apiserver said something: listing, event, bookmark, or that it goes on from where we are."""
        self._heard_at = self._clock()
        self._version = version
        self._number = int(version) if version.isdigit() else self._number

    async def run(self) -> None:
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                self._failures = 0
            except Expired:
                self._version = ""
                self._failures += 1
                if self._failures > 1:
                    await self._pause(backoff(self._failures, self._chance()))
            except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError, Refused) as error:
                self._failures += 1
                self._metrics.watch_failures.labels(self._word).inc()
                log.warning("watching %s: %s, tried again soon", self._word, _why(error))
                await self._pause(backoff(self._failures, self._chance()))

    async def _list(self) -> None:
        found: list[K] = []
        query = {**self._query, "limit": str(PAGE)}
        while True:
            async with self._api.get(self._path, query) as answer:
                _check(answer.status)
                page = _list.decode(await whole(answer, MAX_LIST_BYTES))
            found += [item for raw in page.items if (item := self._read(raw)) is not None]
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        self._metrics.watch_lists.labels(self._word).inc()
        self._sink.replace(found)
        self._heard(page.metadata.resource_version)

    async def _watch(self) -> None:
        low, high = WATCH_SECONDS
        query = {
            **self._query,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(low + (high - low) * self._chance())),
        }
        async with self._api.get(self._path, query, total=None, read=self._read_seconds) as answer:
            _check(answer.status)
            self._heard(self._version)
            try:
                async for line in _lines(answer):
                    self._happened(_event.decode(line))
            except aiohttp.SocketTimeoutError:
                self._metrics.watch_silent.labels(self._word).inc()
                return  # silence: the connection may be dead; the next watch goes on from here

    def _happened(self, event: _Event) -> None:
        if event.type == "ERROR":
            code = _status.decode(event.object).code
            self._version = ""
            raise Expired if code == GONE else Refused(str(code))
        self._failures = 0
        self._metrics.watch_events.labels(self._word).inc()
        meta = _bare.decode(event.object).metadata
        if event.type == "DELETED":
            self._sink.drop(meta)
        elif event.type in ("ADDED", "MODIFIED"):
            item = self._read(event.object)
            if item is not None:
                self._sink.put(item)
        self._heard(meta.resource_version or self._version)

    def _read(self, raw: Raw) -> K | None:
        """The object, or None where it is not what we read; what was known of it stays."""
        try:
            return self._decoder.decode(raw)
        except msgspec.MsgspecError as error:
            self._metrics.watch_skipped.labels(self._word).inc()
            log.warning("skipped %s %s: %s", self._word, _name(raw), error)  # names field and types, never values
            return None


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row; `chance` in [0, 1) spreads the many.

    >>> backoff(1, 0.0), backoff(1, 0.5), backoff(3, 0.0), backoff(50, 0.999) < 30
    (0.1, 0.15, 0.4, True)
    """
    first, most = BACKOFF_SECONDS
    whole: float = min(most, first * 2.0 ** min(failures - 1, 20))
    return whole / 2 + whole / 2 * chance


def _check(status: int) -> None:
    if status == GONE:
        raise Expired
    if status != 200:
        raise Refused(str(status))


def _why(error: BaseException) -> str:
    """Type, and a status code where there is one: an apiserver's text is not ours to log."""
    return f"the apiserver said {error}" if isinstance(error, Refused) else type(error).__name__


def _name(raw: Raw) -> str:
    try:
        meta = _bare.decode(raw).metadata
    except msgspec.MsgspecError:
        return "without a name"
    return f"{meta.namespace}/{meta.name}"


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in answer.content.iter_any():
        rest += chunk
        *lines, last = rest.split(b"\n")
        rest = last
        if len(rest) > MAX_LINE_BYTES:
            raise Refused("an event larger than we read")
        for line in lines:
            if line:
                yield bytes(line)
