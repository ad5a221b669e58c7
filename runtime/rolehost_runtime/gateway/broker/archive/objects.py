"""Segments in an object store: S3 and what speaks like it, Google Cloud Storage, Azure, or a local folder.

Which one, the URL says: `s3://bucket/prefix`, `gs://…`, `az://container/…`, `file:///folder`. Credentials and whatever
else the store needs come from the environment, by the names that its own tools use (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT_KEY`, `AZURE_STORAGE_ACCOUNT_KEY` …), or from the pod's own identity.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from rolehost_api.errors import BadRequest, NotFound, Unavailable
from rolehost_runtime.core.record import CorruptRecord
from rolehost_runtime.gateway.ports import MAX_OBJECT_BYTES

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "https", "file")
CONNECT_SECONDS, CALL_SECONDS, RETRY_SECONDS = 3, 10, 10
RETRIES = 2
LISTED = 100
"""Names asked for at once."""
AWAY = "Nothing is lost meanwhile: records stay in Redis until they are in the object store"


class ObjectSegments:
    """Implements ports.SegmentStore."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def connect(cls, url: str) -> "ObjectSegments":
        """A store on such a URL; connects when first used. Raises BadRequest `invalid_archive_url`, which does not
        repeat it."""
        parts = urlsplit(url)
        secret = "@" in parts.netloc and not parts.scheme.startswith("abfs")  # abfs://container@account is its form
        if parts.scheme not in SCHEMES or secret or (parts.scheme == "file" and not parts.path.startswith("/")):
            raise BadRequest(
                "this is no URL of an object store",
                hint="s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder, without a key",
                code="invalid_archive_url",
            )
        try:
            if parts.scheme == "file":
                return cls(LocalStore(Path(parts.path), mkdir=True, automatic_cleanup=False))
            return cls(
                from_url(
                    url,
                    client_options={
                        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                        "timeout": timedelta(seconds=CALL_SECONDS),
                        "allow_http": True,
                    },
                    retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
                )
            )
        except (BaseError, OSError, ValueError) as wrong:
            raise BadRequest(
                f"the object store cannot be used ({type(wrong).__name__})",
                hint="See archive.url in the chart's values, and the environment for region and endpoint",
                code="invalid_archive_url",
            ) from None

    async def put(self, name: str, body: bytes) -> None:
        if len(body) > MAX_OBJECT_BYTES:
            raise BadRequest("a segment is too large to be kept", code="segment_too_large")
        async with _told():
            await obstore.put_async(self._store, name, body, use_multipart=False)

    async def get(self, name: str) -> bytes:
        async with _told(missing=True):
            found = await obstore.get_async(self._store, name)
            if found.meta["size"] > MAX_OBJECT_BYTES:
                raise CorruptRecord("a segment is larger than segments are")
            return bytes(await found.bytes_async())

    async def list(self, folder: str, limit: int) -> Sequence[str]:
        names: list[str] = []
        async with _told():
            async for found in obstore.list(self._store, folder, chunk_size=min(limit, LISTED)):
                names += [one["path"] for one in found]
                if len(names) >= limit:
                    break
        return names[:limit]

    async def delete(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(NotFound):
                async with _told(missing=True):
                    await obstore.delete_async(self._store, name)


@asynccontextmanager
async def _told(*, missing: bool = False) -> AsyncIterator[None]:
    """What goes wrong in it, by our own names; what the library says may hold an address or a key, so it is left out.

    `missing`: that something is not there may be about the name, and not about the bucket.
    """
    try:
        yield
    except (BaseError, OSError, ValueError) as wrong:
        if isinstance(wrong, FileNotFoundError) and missing:
            raise NotFound("there is no such segment", code="segment_not_found") from None
        raise Unavailable(
            f"the object store of the archive does not do what it was asked ({type(wrong).__name__})",
            hint=AWAY,
            code="archive_unavailable",
        ) from None
