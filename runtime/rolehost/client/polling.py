"""A channel that the server called degraded: the state is asked for beside it. Pure."""

from urllib.parse import urlencode

from rolehost.client.frames import Frame, number, word

LEAST_MS, MOST_MS, DEFAULT_MS = 100, 60_000, 1_000
MAX_PATH = 2_048


def path_of(frame: Frame) -> str | None:
    """What to poll, of the same host only: whoever polls shows a key. None where that is not what is written.

    >>> path_of({"mode": "ws+poll", "poll": "/v1/roles/cat/sessions/a/state?after_version=7"})
    '/v1/roles/cat/sessions/a/state'
    >>> path_of({"mode": "ws+poll", "poll": "//evil.example/x"}), path_of({"mode": "ws"})
    (None, None)
    """
    path = (word(frame, "poll") or "").partition("?")[0]
    mode = word(frame, "mode") or ""
    plain = path.startswith("/v1/") and len(path) <= MAX_PATH and path.isascii() and path.isprintable()
    return path if "poll" in mode and plain and not {"\\", "#", " "} & set(path) and ".." not in path else None


class Polling:
    def __init__(self) -> None:
        self.due: float | None = None
        self._path: str | None = None
        self._every = DEFAULT_MS

    def told(self, now: float, frame: Frame) -> None:
        """`channel.degraded`: from now on, or not any more."""
        before, self._path = self._path, path_of(frame)
        self._every = min(MOST_MS, max(LEAST_MS, number(frame, "poll_ms") or DEFAULT_MS))
        if self._path is None:
            self.due = None
        elif before is None:
            self.due = now

    def stop(self) -> None:
        self._path = self.due = None

    def next(self, now: float, version: int, user: str | None = None) -> str | None:
        """The path to ask now, once; the next one is due only after its answer. `user`: whose state it is."""
        if self._path is None or self.due is None or now < self.due:
            return None
        self.due = None
        return f"{self._path}?{urlencode({'after_version': version} | ({} if user is None else {'user': user}))}"

    def answered(self, now: float) -> None:
        if self._path is not None:
            self.due = now + self._every
