"""The gateway's end of the upload service. Implements ports.Bundles and edge.uploads.Uploads."""

import time
from collections.abc import AsyncIterator, Callable

import aiohttp

from rolehost_api.errors import NotFound, RolehostError, Unavailable
from rolehost_runtime.gateway.edge.uploads import MAX_UPLOAD_BYTES
from rolehost_runtime.gateway.ports import Signer
from rolehost_runtime.gateway.tables import Tenant
from rolehost_runtime.gateway.upload import signing
from rolehost_runtime.gateway.watch.api import whole

CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 120.0
FETCH_SECONDS = 30.0
MAX_ANSWER_BYTES = 1 << 20


class UploadClient:
    def __init__(self, url: str, key: Signer, now: Callable[[], float] = time.time) -> None:
        self._url, self._key, self._now = url.rstrip("/"), key, now
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "UploadClient":
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32), auto_decompress=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def bundle(self, tenant: Tenant, archive: AsyncIterator[bytes]) -> tuple[int, bytes]:
        return await self._ask("PUT", signing.BUNDLES, tenant, TOTAL_SECONDS, MAX_ANSWER_BYTES, archive)

    async def check(self, tenant: Tenant, manifest: AsyncIterator[bytes]) -> tuple[int, bytes]:
        return await self._ask("POST", signing.CHECK, tenant, TOTAL_SECONDS, MAX_ANSWER_BYTES, manifest)

    async def fetch(self, tenant: Tenant, digest: str) -> bytes:
        path = f"{signing.BUNDLES}/{tenant.uid}/{digest}"
        status, body = await self._ask("GET", path, tenant, FETCH_SECONDS, MAX_UPLOAD_BYTES, None)
        if status == 404:
            raise NotFound(
                "this tenant pushed no bundle of this digest", hint="`rolehost push` does", code="bundle_not_found"
            )
        if status != 200:
            raise _away()
        return body

    async def _ask(
        self, method: str, path: str, tenant: Tenant, seconds: float, most: int, body: AsyncIterator[bytes] | None
    ) -> tuple[int, bytes]:
        """Raises Unavailable `upload_unavailable`, or what reading `body` raises."""
        if self._http is None:
            raise RuntimeError("the UploadClient is used outside of its context")
        headers = {signing.HEADER: signing.signed(self._key, tenant.uid, method, path, int(self._now()))}
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        source = None if body is None else _Source(body)
        try:
            async with self._http.request(
                method, self._url + path, headers=headers, data=source and source.read(), timeout=timeout,
                allow_redirects=False,
            ) as answer:  # fmt: skip
                return answer.status, await whole(answer, most)
        except (aiohttp.ClientError, OSError, TimeoutError):
            if source is not None and source.failed is not None:
                raise source.failed from None
            raise _away() from None


class _Source:
    """A body on its way through, and what broke it, if that was on our client's side."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self.failed: RolehostError | None = None

    async def read(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body:
                yield chunk
        except RolehostError as error:
            self.failed = error
            raise


def _away() -> Unavailable:
    return Unavailable("pushes and bundles cannot be served now", code="upload_unavailable")
