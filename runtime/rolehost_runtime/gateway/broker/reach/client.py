"""A request and whatever it leads to: each hop is judged, resolved and checked like the first one."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import MAX_FETCH_BYTES
from rolehost_runtime.core.reach.hops import MAX_HOPS, Request
from rolehost_runtime.core.reach.urls import Target
from rolehost_runtime.gateway.broker.reach import failures
from rolehost_runtime.gateway.broker.reach.dialing import Dialing
from rolehost_runtime.gateway.broker.reach.exchange import Exchange


@dataclass(slots=True)
class Traffic:
    """Bytes of one call, redirects among them."""

    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's, whose head has come."""

    target: Target
    exchange: Exchange = field(repr=False)

    @property
    def status(self) -> int:
        return self.exchange.status

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        return self.exchange.headers

    def header(self, name: str) -> str:
        return self.exchange.header(name)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece. Raises Unavailable `http_failed`, `http_too_large`."""
        return self.exchange.body()

    async def whole(self) -> bytes:
        return b"".join([data async for data in self.chunks()])


class Client:
    """Whoever calls bounds the time."""

    def __init__(self, dialing: Dialing) -> None:
        self._dialing = dialing

    @asynccontextmanager
    async def ask(
        self,
        request: Request,
        tenant: str,
        may: Callable[[Target], bool],
        traffic: Traffic | None = None,
        most: int = MAX_FETCH_BYTES,
    ) -> AsyncIterator[Answer]:
        """The answer in the end. `may` says of each target whether it is granted; `most` bounds the body.

        Raises RolehostError with a code of `failures`, or BadRequest `http_invalid_url` of a redirect.
        """
        traffic = traffic or Traffic()
        for _ in range(MAX_HOPS + 1):
            if not may(request.target):
                raise failures.not_granted()
            exchange = Exchange(await self._dialing.open(request.target, tenant), request, most)
            try:
                await exchange.head()
                after = request.redirected(exchange.status, exchange.header("location"))
                if after is None:
                    yield Answer(request.target, exchange)
                    return
                request = after
            finally:
                exchange.close()
                traffic.sent += exchange.sent
                traffic.received += exchange.received
        raise failures.too_many_hops()


def code_of(error: BaseException) -> str:
    return error.code if isinstance(error, RolehostError) else "http_failed"
