"""What a session's channels are told of each other: urgent, degraded, and when that is over. Time and words for core.channels."""

import asyncio
from collections.abc import Callable, Iterable
from urllib.parse import quote, urlencode

from rolehost_api.wire import ChannelDegraded, ServerFrame, Urgent
from rolehost_runtime.core.channels import POLL_MS, Channels, Tell, Urgency, Word


def poll_path(role: str, session_id: str, version: int, user: str | None) -> str:
    """Where the state is asked for.

    >>> poll_path("cat", "a b", 7, None)
    '/v1/roles/cat/sessions/a%20b/state?after_version=7'
    """
    query = {"after_version": version} | ({"user": user} if user else {})
    return f"/v1/roles/{quote(role, safe='')}/sessions/{quote(session_id, safe='')}/state?{urlencode(query)}"


class Alarm:
    """Of one session, at the gateway that answers it."""

    def __init__(
        self,
        role: str,
        session_id: str,
        user: str | None,
        tell: Callable[[ServerFrame], None],
        now_ms: Callable[[], int],
        normal_ms: int,
    ) -> None:
        self._where = (role, session_id, user)
        self._tell, self._now_ms = tell, now_ms
        self._channels = Channels(normal_ms)
        self._timer: asyncio.TimerHandle | None = None

    def at(self, version: int) -> None:
        """The log was read."""
        self._channels.at(version)

    def forgot(self, version: int) -> None:
        """A part of it is lost."""
        self._channels.forgot(version)

    def changed(self, version: int, *, urgent: bool) -> None:
        self._told(self._channels.changed(_now(), version, urgent=urgent))

    def watcher(self, who: int, word: Word) -> None:
        """`who` follows the state beside the others, and says how it fares."""
        self._told(self._channels.watcher(_now(), who, word))

    def left(self, who: int) -> None:
        """It is gone, and said before why. Harmless for one that is no watcher."""
        self._told(self._channels.left(_now(), who))

    def standing(self) -> list[ServerFrame]:
        """For who comes in now."""
        return [self._frame(tell) for tell in self._channels.standing()]

    def wake(self) -> None:
        """Somebody is there again: what is over meanwhile is over."""
        self._told(self._channels.tick(_now()))

    def rest(self) -> None:
        """Nobody is there to be told anything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _told(self, tells: Iterable[Tell]) -> None:
        for tell in tells:
            self._tell(self._frame(tell))
        self.rest()
        due = self._channels.due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._told(self._channels.tick(_now()))

    def _frame(self, tell: Tell) -> ServerFrame:
        role, session_id, user = self._where
        if isinstance(tell, Urgency):
            return Urgent(
                session_id=session_id, seq=None, ts=self._now_ms(), version=tell.version, is_urgent=tell.is_urgent,
                heartbeat_ms=tell.heartbeat_ms, reason=tell.reason,
            )  # fmt: skip
        polls = tell.mode != "normal"
        return ChannelDegraded(
            session_id=session_id, seq=None, ts=self._now_ms(), mode=tell.mode, last_version=tell.version,
            poll=poll_path(role, session_id, tell.version, user) if polls else None,
            poll_ms=POLL_MS if polls else None,
        )  # fmt: skip


def _now() -> float:
    return asyncio.get_running_loop().time() * 1000
