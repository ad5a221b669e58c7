"""Names to addresses, by the system's resolver, in threads of its own: a resolver that hangs holds up nobody else."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from rolehost_runtime.gateway.broker.reach import failures

MAX_THREADS = 32
MAX_OF_ONE = 8
"""Names of one tenant that are looked up at once. A thread whose asker gave up still counts until it is done."""
MAX_ADDRESSES = 32

Resolver = Callable[[str], Sequence[str]]
"""A host's addresses. Raises OSError."""


def system(host: str) -> list[str]:
    """A name with dots is taken as it is, whatever the pod's search list would make of it."""
    absolute = f"{host}." if "." in host and not host.replace(".", "").isdigit() else host
    found = socket.getaddrinfo(absolute, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Lookup:
    def __init__(self, resolver: Resolver = system) -> None:
        self._resolver = resolver
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="lookup")
        self._running: Counter[str] = Counter()

    async def addresses(self, host: str, tenant: str) -> list[str]:
        """Each once, in the resolver's order. Raises Unavailable `http_unreachable`, Overloaded `http_busy`."""
        if self._running[tenant] >= MAX_OF_ONE:
            raise failures.busy()
        loop = asyncio.get_running_loop()
        self._running[tenant] += 1
        try:
            asked = self._threads.submit(self._resolver, host)
        except RuntimeError:  # the gateway is stopping
            self._done(tenant)
            raise failures.unreachable() from None
        asked.add_done_callback(lambda done: self._told(loop, tenant, done))
        try:
            found = await asyncio.wrap_future(asked)
        except (OSError, UnicodeError):
            raise failures.unreachable() from None
        once = list(dict.fromkeys(found))
        if not once or len(once) > MAX_ADDRESSES:
            raise failures.unreachable()
        return once

    def _told(self, loop: asyncio.AbstractEventLoop, tenant: str, done: "Future[Sequence[str]]") -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._done, tenant)

    def _done(self, tenant: str) -> None:
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
