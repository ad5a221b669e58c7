"""What kopf's own requests tell of its watches: when each was listed, opened and refused.

kopf lists a kind anew when a watch lost its place, and tells its handlers what is there,
but not what vanished meanwhile. Its session is ours, so we see it ask.
"""

import time
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace

import aiohttp
import kopf


class Tidings:
    """Of each plural that is watched. `listed` hears of every listing, the first included: what was
    seen before it may have vanished since.

    >>> heard = []
    >>> tidings = Tidings(["pods"], heard.append, clock=lambda: 7.0)
    >>> tidings.answered("pods", watch=False, good=True), tidings.answered("pods", watch=True, good=True)
    (None, None)
    >>> tidings.answered("pods", watch=False, good=False), heard, tidings.lists["pods"], tidings.opened["pods"]
    (None, ['pods'], 1, 1)
    >>> tidings.answered("nodes", watch=True, good=True), tidings.ages()
    (None, {'pods': 0.0})
    """

    def __init__(
        self, plurals: Collection[str], listed: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listed, self._clock = listed, clock
        self._heard_at = dict.fromkeys(plurals, clock())
        self.lists = dict.fromkeys(plurals, 0)
        self.opened = dict.fromkeys(plurals, 0)
        self.failures = dict.fromkeys(plurals, 0)

    def ages(self) -> Mapping[str, float]:
        """Seconds since the apiserver last listed a kind, opened its watch, or sent an event on it."""
        now = self._clock()
        return {plural: now - at for plural, at in self._heard_at.items()}

    def event(self, plural: str) -> None:
        self._heard_at[plural] = self._clock()

    def answered(self, plural: str, *, watch: bool, good: bool) -> None:
        if plural not in self.lists:
            return
        if not good:
            self.failures[plural] += 1
            return
        self.event(plural)
        if watch:
            self.opened[plural] += 1
            return
        self.lists[plural] += 1
        self._listed(plural)


def session(info: kopf.ConnectionInfo, tidings: Tidings) -> kopf.AiohttpSession:
    """A session for kopf, which closes it, that tells what it asks for and gets."""

    async def ended(_: object, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        tidings.answered(params.url.name, watch="watch" in params.url.query, good=params.response.status < 400)

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
