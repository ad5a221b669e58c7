"""Which files' edits count. Needs watchfiles, which the extra `dev` brings."""

from collections.abc import Sequence
from pathlib import Path

from watchfiles import Change, DefaultFilter


class Sources(DefaultFilter):
    """What would be packed or read: below the watched folders nothing hidden, no cache, no editor's leftover."""

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__()
        self._folders = tuple(folders)

    def __call__(self, change: Change, path: str) -> bool:
        """
        >>> watched = Sources([Path("/home/u/.work/cat")])
        >>> [watched(Change.modified, f"/home/u/.work/cat/{name}") for name in ("cat.py", ".rolehost/redis/aof", "cat.py~")]
        [True, False, False]
        """
        below = next(
            (Path(path).relative_to(top) for top in self._folders if Path(path).is_relative_to(top)), Path(path)
        )
        hidden = any(part.startswith(".") for part in below.parts)
        return not hidden and not path.endswith((".pyc", "~", ".swp")) and super().__call__(change, path)
