"""What a model server's failure is called. Nothing that the server says is passed on: it may quote the prompt or the key."""

from rolehost_api.errors import BadRequest, RolehostError, Unavailable

MAX_RETRY_AFTER_SECONDS = 3600
OVERLOADED = 529
"""Anthropic's own status."""


def refusal(status: int, retry_after: str = "") -> RolehostError:
    """What a status means for the turn.

    >>> [refusal(s).code for s in (400, 401, 404, 503)]
    ['model_refused', 'model_key_refused', 'model_not_found', 'model_unavailable']
    >>> [(refusal(s).code, refusal(s).retryable) for s in (302, 429, 529)]
    [('model_refused', False), ('model_overloaded', True), ('model_overloaded', True)]
    >>> refusal(429, "7").retry_after_ms, refusal(503, "0.5").retry_after_ms, refusal(429, "soon").retry_after_ms
    (7000, 500, None)
    """
    if status in (401, 403):
        return BadRequest(
            "the model server refused our key", hint="Check the ModelBackend's apiKey", code="model_key_refused"
        )
    if status == 404:
        return BadRequest(
            "the model server has no such model or path", hint="Check baseURL and models", code="model_not_found"
        )
    if status in (408, 425, 429, OVERLOADED) or (status == 503 and retry_after):
        return overloaded(retry_after)
    if status >= 500:
        return unavailable(f"it answered {status}")
    return BadRequest(
        f"the model server refused the request ({status})", hint="Check model.params of the Role", code="model_refused"
    )


def overloaded(retry_after: str = "") -> Unavailable:
    """`retry_after` is the header of that name; a date is not understood, and no server of a model sends one."""
    error = Unavailable("the model server has too much to do", code="model_overloaded")
    if retry_after.isascii() and retry_after.replace(".", "", 1).isdigit() and len(retry_after) < 8:
        error.retry_after_ms = int(1000 * min(float(retry_after), MAX_RETRY_AFTER_SECONDS))
    return error


def unavailable(why: str) -> Unavailable:
    return Unavailable(f"the model server is not available: {why}", code="model_unavailable")


def garbage(wire: str) -> Unavailable:
    return unavailable(f"its answer is not the {wire} wire")


def broken_off() -> Unavailable:
    return unavailable("the connection broke off in mid-answer")


def endless() -> Unavailable:
    return unavailable("its answer does not end")


def too_slow(why: str) -> Unavailable:
    return Unavailable(f"the model server is too slow: {why}", code="model_timeout")
