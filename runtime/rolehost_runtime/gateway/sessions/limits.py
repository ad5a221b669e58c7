"""How much one session may come to. Pure."""

from dataclasses import dataclass

from rolehost_api.errors import Conflict

MAX_TURNS = 100_000
MAX_LOG_BYTES = 67_108_864
"""64 MiB of records in the store; what left it for the archive does not count."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of each session, as the platform team has it. A turn that begins below them is kept whole, so the last one may
    end above."""

    turns: int = MAX_TURNS
    log_bytes: int = MAX_LOG_BYTES

    def refusal(self, turns: int, log_bytes: int) -> Conflict | None:
        """Why there is no next turn in a session of so many turns and bytes; None: there is one.

        >>> limits = Limits(turns=3, log_bytes=1_000)
        >>> limits.refusal(2, 999) is None, limits.refusal(3, 0).code, limits.refusal(0, 1_000).code
        (True, 'session_full', 'session_full')
        >>> print(limits.refusal(0, 1_000).message)
        this session's log takes 1000 of 1000 bytes that a session may take
        """
        if turns >= self.turns:
            return _full(f"this session has {turns} turns, as many as a session may have")
        if log_bytes >= self.log_bytes:
            return _full(f"this session's log takes {log_bytes} of {self.log_bytes} bytes that a session may take")
        return None


USUAL = Limits()


def _full(message: str) -> Conflict:
    return Conflict(
        message,
        hint="All that was said stays readable, and can be exported or forgotten; go on in a new session, "
        "or in a fork of an earlier event",
        code="session_full",
    )
