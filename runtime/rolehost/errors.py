"""What can go wrong between role logic and the platform, as the logic may see it.

LogicError
 ├─ ModelFailed    `await t.ask()` got no answer; `code` says why
 ├─ HttpFailed     `await t.http.get(…)` got no answer; `code` says why
 └─ (codes)        declared_twice, foreign_await, reply_too_large, …
"""

from rolehost_api.errors import LogicError


class ModelFailed(LogicError):
    """The model did not answer. Catch it to say something else; else the turn fails with its code."""

    code = "model_unavailable"
    status = 502
    retryable = True


class HttpFailed(LogicError):
    """No server's answer came; one that says 404 is an answer. Codes: http_not_granted, http_refused_address,
    http_invalid_url, http_invalid_request, http_unreachable, http_timeout, http_too_large, http_too_many_redirects,
    http_failed, http_busy, http_rate_limited, http_off, too_many_effects, state_unavailable, warming_up. docs/reaching-out.md"""

    code = "http_failed"
    status = 502


__all__ = ["HttpFailed", "LogicError", "ModelFailed"]
