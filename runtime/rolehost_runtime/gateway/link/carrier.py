"""Bundles on their way to pods: fetched once for all that wait for the same one, and never more than the budget says."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.link.budget import Budget, Parcel
from rolehost_runtime.gateway.ports import Bundles
from rolehost_runtime.gateway.tables import Tenant

FETCH_SECONDS = 30.0


class Carrier:
    def __init__(self, bundles: Bundles, budget: Budget | None = None) -> None:
        self._bundles = bundles
        self._budget = budget or Budget()
        self._starts: dict[Hashable, asyncio.Future[None]] = {}
        self._fetches: dict[Parcel, asyncio.Task[bytes]] = {}

    @property
    def congested(self) -> bool:
        """Pods wait for others to be sent theirs."""
        return self._budget.waiting > 0

    @asynccontextmanager
    async def bundle(self, tenant: Tenant, digest: str, lost: "asyncio.Future[None]") -> AsyncIterator[bytes]:
        """The archive, once it is this transfer's turn; it counts against the budget until the block ends.

        `lost` is done when there is nobody any more to send it to. Raises Unavailable
        `pod_lost` or `upload_unavailable`, and what the Bundles raise.
        """
        parcel, ticket = Parcel(tenant.uid, digest), object()
        start = self._starts[ticket] = asyncio.get_running_loop().create_future()
        self._budget.join(ticket, parcel)
        self._admit()
        try:
            await asyncio.wait((start, lost), return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                raise Unavailable("the link to the pod was lost", code="pod_lost")
            yield await asyncio.shield(self._fetch(tenant, parcel))
        finally:
            self._starts.pop(ticket).cancel()
            if self._budget.leave(ticket) and (fetch := self._fetches.pop(parcel, None)) is not None:
                fetch.cancel()
            self._admit()

    def _admit(self) -> None:
        for ticket in self._budget.admit():
            self._starts[ticket].set_result(None)

    def _fetch(self, tenant: Tenant, parcel: Parcel) -> "asyncio.Task[bytes]":
        """The one fetch of this parcel that is under way or done."""
        fetch = self._fetches.get(parcel)
        if fetch is None:
            fetch = self._fetches[parcel] = asyncio.create_task(self._fetched(tenant, parcel), name="bundle")
            fetch.add_done_callback(_heard)
        return fetch

    async def _fetched(self, tenant: Tenant, parcel: Parcel) -> bytes:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                archive = await self._bundles.fetch(tenant, parcel.digest)
        except TimeoutError:
            raise Unavailable("the bundle did not come in time", code="upload_unavailable") from None
        self._budget.weigh(parcel, len(archive))
        self._admit()
        return archive


def _heard(fetch: "asyncio.Task[bytes]") -> None:
    """Whoever still waits has its error; that nobody does is no fault."""
    if not fetch.cancelled():
        fetch.exception()
