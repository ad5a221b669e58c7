"""The port to where pushes are taken in: bytes pass the gateway unread."""

from collections.abc import AsyncIterator
from typing import Protocol

from rolehost_runtime.gateway.tables import Tenant

MAX_UPLOAD_BYTES = 10 << 20
MAX_MANIFEST_BYTES = 1 << 20


class Uploads(Protocol):
    async def bundle(self, tenant: Tenant, archive: AsyncIterator[bytes]) -> tuple[int, bytes]:
        """Status and JSON of the answer. Raises Unavailable `upload_unavailable`."""

    async def check(self, tenant: Tenant, manifest: AsyncIterator[bytes]) -> tuple[int, bytes]:
        """Findings about a manifest, as JSON. Raises Unavailable `upload_unavailable`."""
