"""How the watches fare: when each was listed, opened, refused, and last brought something.

Of those that kopf keeps its own requests tell. kopf lists a kind anew when a watch lost its place, and tells its handlers what is there,
but not what vanished meanwhile. Its session is ours, so we see it ask.
"""

import time
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace

import aiohttp
import kopf


class Tidings:
    """Of each plural that is watched; of another one nothing is kept.

    >>> tidings = Tidings(["pods"], clock=lambda: 7.0)
    >>> tidings.answered("pods", watch=False, good=True), tidings.answered("pods", watch=True, good=True)
    (None, None)
    >>> tidings.answered("pods", watch=False, good=False), tidings.lists, tidings.opens, tidings.failures
    (None, {'pods': 1}, {'pods': 1}, {'pods': 1})
    >>> tidings.answered("nodes", watch=True, good=True), tidings.ages()
    (None, {'pods': 0.0})
    """

    def __init__(self, plurals: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_at = dict.fromkeys(plurals, clock())
        self.lists = dict.fromkeys(plurals, 0)
        self.opens = dict.fromkeys(plurals, 0)
        self.failures = dict.fromkeys(plurals, 0)

    def ages(self) -> Mapping[str, float]:
        """Seconds since the apiserver last listed a kind, opened its watch, or sent an event on it."""
        now = self._clock()
        return {plural: now - at for plural, at in self._heard_at.items()}

    def event(self, plural: str) -> None:
        if plural in self._heard_at:
            self._heard_at[plural] = self._clock()

    def answered(self, plural: str, *, watch: bool, good: bool) -> None:
        if plural not in self.lists:
            return
        if not good:
            self.failures[plural] += 1
            return
        self.event(plural)
        counts = self.opens if watch else self.lists
        counts[plural] += 1


def session(info: kopf.ConnectionInfo, tidings: Tidings, listed: Callable[[str], None]) -> kopf.AiohttpSession:
    """A session for kopf, which closes it, that tells what it asks for and gets. `listed` hears of every listing, the
    first included: what was seen before it may have vanished since."""

    async def ended(_: object, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        watch, good = "watch" in params.url.query, params.response.status < 400
        tidings.answered(params.url.name, watch=watch, good=good)
        if good and not watch and params.url.name in tidings.lists:
            listed(params.url.name)

    async def broke(_: object, __: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams) -> None:
        tidings.answered(params.url.name, watch="watch" in params.url.query, good=False)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(ended)
    trace.on_request_exception.append(broke)
    made = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        trace_configs=[trace],
    )
    return kopf.AiohttpSession(
        server=info.server,
        default_namespace=info.default_namespace,
        expiration=info.expiration,
        aiohttp_session=made,
    )
