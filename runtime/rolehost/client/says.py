"""What the user said and nobody has answered yet, in order. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rolehost.client.frames import Frame, word
from rolehost.client.pauses import next_pause

MAX_WAITING = 64
SILENCE_MS = 330_000
"""For a message that is being answered: a model's whole answer and a bit. Past its patience and this it ends anyway."""
GRACE_MS = 15_000
"""For a message whose answer was under way when its connection was lost: to find it again."""
RETRY_MS, RETRY_CAP_MS = 200, 5_000
EAGER = ("interrupt", "reject", "steer")
"""Ways of being busy (`busy_policy`) that only mean something while another message is being answered."""
CANNOT_BE_ANSWERED = ("unknown_type",)
"""Codes of errors that are never about a message."""


@dataclass(slots=True)
class Say:
    """One message until its end."""

    frame: Frame
    deadline: float
    latest: float
    sent: bool = False
    """On the connection that stands now."""
    at_large: bool = False
    """It was sent, and nobody said that nothing became of it."""
    response_id: str | None = None
    """What answers it, as this connection said."""
    joined: str | None = None
    """The response to another message that it was joined to: `busy_policy` steer."""
    retry_at: float = 0
    pause: int = 0
    cancel: dict[str, Any] | None = None
    """What was heard, once its answer is not wanted any more."""
    error: Frame | None = None
    """Why the last try failed."""

    @property
    def id(self) -> str:
        return str(self.frame["client_msg_id"])

    @property
    def eager(self) -> bool:
        return self.frame.get("busy_policy") in EAGER

    def postpone(self, now: float, draw: float, error: Frame) -> bool:
        """Try again later; False: its deadline is before that."""
        self.pause = next_pause(draw, self.pause, RETRY_MS, RETRY_CAP_MS)
        after = error.get("retry_after_ms")
        wait = max(self.pause, after) if type(after) is int else self.pause
        self.sent = self.at_large = False
        self.response_id, self.joined, self.error, self.retry_at = None, None, error, now + wait
        rejected = self.frame.get("busy_policy") == "reject" and error["code"] == "busy"
        return self.retry_at < self.deadline and not rejected


@dataclass(slots=True)
class Says:
    waiting: dict[str, Say] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Say]:
        return iter(tuple(self.waiting.values()))

    def add(self, now: float, frame: Frame, patience_ms: int) -> Say:
        deadline = now + patience_ms
        say = Say(frame, deadline, deadline + SILENCE_MS)
        self.waiting[say.id] = say
        return say

    def of(self, client_msg_id: object) -> Say | None:
        return self.waiting.get(client_msg_id) if isinstance(client_msg_id, str) else None

    def pop(self, say: Say) -> None:
        self.waiting.pop(say.id, None)

    def lost(self, now: float) -> None:
        """The connection is gone: what was sent is sent again, and has a little time for that whatever its deadline."""
        for say in self.waiting.values():
            if say.sent:
                say.sent, say.response_id = False, None
                say.deadline = min(say.latest, max(say.deadline, now + GRACE_MS))

    def sendable(self, now: float) -> list[Say]:
        """Whose turn it is: one message at a time, except those that mean to come between."""
        return [say for say in self._next() if say.retry_at <= now]

    def _next(self) -> list[Say]:
        first = None if any(say.sent for say in self.waiting.values()) else next(iter(self.waiting.values()), None)
        return [say for say in self.waiting.values() if not say.sent and (say is first or say.eager)]

    def blamed(self, frame: Frame) -> Say | None:
        """Whom an error without a response is about: whom it names, else the oldest that was sent and has none."""
        if word(frame, "client_msg_id") is not None:
            return self.of(frame["client_msg_id"])
        return self.unanswered() if word(frame, "response_id") is None else None

    def unanswered(self, policy: str | None = None) -> Say | None:
        """The oldest that was sent and of whose response nothing was said; only of that `busy_policy`."""
        waits = (say for say in self.waiting.values() if say.sent and say.response_id is None)
        return next((say for say in waits if policy in (None, say.frame.get("busy_policy"))), None)

    def joined_to(self, response_id: str) -> list[Say]:
        """Those that the end of this response is the end of as well."""
        return [say for say in self.waiting.values() if say.joined == response_id]

    def expired(self, now: float) -> list[Say]:
        return [say for say in self.waiting.values() if now >= (say.latest if say.sent else say.deadline)]

    def due(self, *, ready: bool) -> list[float]:
        """When to look again; `ready`: what may be sent is sent at once."""
        ends = [say.latest if say.sent else say.deadline for say in self.waiting.values()]
        return ends + [say.retry_at for say in self._next()] if ready else ends
