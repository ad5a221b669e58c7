"""Bundles as files: `<folder>/<tenant UID>/<digest>`. Whose it is, is the path; nothing is shared."""

import os
import re
import secrets
from pathlib import Path

from rolehost_api.errors import NotFound, Overloaded, Unavailable

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MAX_BUNDLES = 1000
"""Of one tenant."""


class BundleStore:
    def __init__(self, folder: Path, tenant_max_bytes: int) -> None:
        self._folder = folder
        self._tenant_max_bytes = tenant_max_bytes
        self.incoming = folder / ".incoming"

    def prepare(self) -> None:
        """Make the folders; what an earlier process left half-done goes. Raises Unavailable `store_unavailable`."""
        try:
            self.incoming.mkdir(parents=True, exist_ok=True)
            for left in self.incoming.iterdir():
                left.unlink()
        except OSError as error:
            raise Unavailable(f"{self._folder} cannot be used: {error.strerror}", code="store_unavailable") from None

    def temporary(self) -> Path:
        return self.incoming / secrets.token_hex(16)

    def keep(self, tenant_uid: str, digest: str, archive: Path) -> None:
        """Take over the file `archive`, durably, under its name. The same bundle again changes nothing.

        Raises Overloaded `bundle_quota` where the tenant's share is used up.
        """
        home = self._folder / tenant_uid
        target = home / digest
        if not DIGEST.fullmatch(digest):  # it comes out of the process that opened a tenant's archive
            raise ValueError("this is no digest")
        if target.is_file():
            archive.unlink()
            return
        home.mkdir(exist_ok=True)
        with os.scandir(home) as entries:
            sizes = [entry.stat().st_size for entry in entries]
        if len(sizes) >= MAX_BUNDLES or sum(sizes) + archive.stat().st_size > self._tenant_max_bytes:
            raise Overloaded(
                "this tenant's room for bundles is used up", hint="Ask the platform's operator", code="bundle_quota",
                retryable=False,
            )  # fmt: skip
        _sync(archive)
        archive.rename(target)
        _sync(home)

    def find(self, tenant_uid: str, digest: str) -> Path:
        """Raises NotFound `bundle_not_found`, whoever else may have pushed it."""
        path = self._folder / tenant_uid / digest
        if DIGEST.fullmatch(digest) and path.is_file():
            return path
        raise NotFound(
            "this tenant pushed no bundle of this digest", hint="`rolehost push` does", code="bundle_not_found"
        )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
