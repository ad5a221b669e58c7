"""What can go wrong between role logic and the platform, as the logic may see it.

LogicError
 ├─ ModelFailed    `await t.ask()` got no answer; `code` says why
 └─ (codes)        declared_twice, foreign_await, reply_too_large, …
"""

from rolehost_api.errors import LogicError


class ModelFailed(LogicError):
    """The model did not answer. Catch it to say something else; else the turn fails with its code."""

    code = "model_unavailable"
    status = 502
    retryable = True


__all__ = ["LogicError", "ModelFailed"]
