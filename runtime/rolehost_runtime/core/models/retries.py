"""Whether a call that failed before its first token is tried again, and when."""

from rolehost_api.crd.modelbackend import Retries

IN_HAND = 10
"""Retries that may be made at once."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
NOT_AGAIN = frozenset(
    {
        "model_refused",
        "model_key_refused",
        "model_key_missing",
        "model_key_invalid",
        "backend_not_served",
        "model_not_found",
        "context_too_long",
        "model_circuit_open",
        "model_busy",
        "plugin_not_found",
    }
)
"""Another try of the same would end the same."""


class RetryBudget:
    """Retries as a share of calls, so that a storm is not made larger: at most `budget_percent` of the calls, and IN_HAND.

    >>> budget = RetryBudget()
    >>> sum(budget.take() for _ in range(100))
    10
    >>> for _ in range(10): budget.called(20)
    >>> sum(budget.take() for _ in range(100))
    2
    """

    def __init__(self) -> None:
        self._hundredths = 100 * IN_HAND

    def called(self, percent: int) -> None:
        """A call was begun, whose retries are not calls of their own."""
        self._hundredths = min(self._hundredths + percent, 100 * IN_HAND)

    def take(self) -> bool:
        """One retry, if there is one left."""
        if self._hundredths < 100:
            return False
        self._hundredths -= 100
        return True


def pause(rule: Retries, code: str, tried: int, retry_after_ms: int | None, jitter: float) -> float | None:
    """Seconds until the next try after `tried` of them; None: there is none. `jitter` is in [0, 1).

    >>> rule = Retries(max_retries=2, max_wait_seconds=5)
    >>> [pause(rule, "model_unavailable", tried, None, 0.0) for tried in (1, 2, 3)]
    [0.05, 0.1, None]
    >>> pause(rule, "model_overloaded", 1, 3000, 0.0), pause(rule, "model_overloaded", 1, 60_000, 0.0)
    (3.0, None)
    >>> pause(rule, "model_refused", 1, None, 0.0)
    """
    if tried > rule.max_retries or code in NOT_AGAIN:
        return None
    own = min(FIRST_PAUSE_SECONDS * (1 << (tried - 1)), LONGEST_PAUSE_SECONDS) * (0.5 + jitter / 2)
    if retry_after_ms is None:
        return own
    asked = retry_after_ms / 1000
    return None if asked > rule.max_wait_seconds else asked + own * jitter
