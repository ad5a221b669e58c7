"""Keys of model servers, out of a mounted Secret: one file per entry, read again when it changed."""

import os
import re
from pathlib import Path

from rolehost_api.errors import Unavailable

MAX_KEY_BYTES = 8192
_ENTRY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_USABLE = re.compile(r"[\x21-\x7e]+")


class KeyRing:
    """`folder` is where the Secret `rolehost-model-keys` is mounted. No key is in any repr, error or log."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._read: dict[str, tuple[tuple[int, int], str]] = {}

    def get(self, entry: str) -> str:
        """The key called `entry` as it is now. Raises Unavailable `model_key_missing`."""
        if self._folder is None or not _ENTRY.fullmatch(entry) or entry in (".", "..") or entry.startswith(".."):
            raise _missing(entry)
        path = self._folder / entry
        try:
            found = os.stat(path)
            stamp = (found.st_mtime_ns, found.st_ino)
            known = self._read.get(entry)
            if known is not None and known[0] == stamp:
                return known[1]
            with path.open("rb") as file:
                key = file.read(MAX_KEY_BYTES).decode("ascii", "replace").strip()
        except OSError:
            self._read.pop(entry, None)
            raise _missing(entry) from None
        if not _USABLE.fullmatch(key):
            raise Unavailable("a model server's key is empty or no header can hold it", code="model_key_invalid")
        self._read[entry] = (stamp, key)
        return key


def _missing(entry: str) -> Unavailable:
    return Unavailable(
        "the key that this ModelBackend names is not there",
        hint=f"Add the entry {entry[:253]} to the Secret rolehost-model-keys; it takes up to 2 minutes to arrive",
        code="model_key_missing",
    )
