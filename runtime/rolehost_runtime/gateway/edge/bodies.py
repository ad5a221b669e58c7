"""Errors as HTTP answers: `{"error": {code, message, hint, retryable}}`, everywhere alike."""

from msgspec import Struct
from starlette.responses import Response

from rolehost_api import wire
from rolehost_api.errors import RolehostError

RETRY_AFTER_MS = 1000


class ErrorAnswer(Struct, frozen=True):
    error: wire.ErrorBody


def error_json(body: wire.ErrorBody) -> bytes:
    return wire.encode(ErrorAnswer(body))


def error_response(error: RolehostError, *, close: bool = False, body: bytes | None = None) -> Response:
    """`close`: the body was not read, so the connection cannot be used again. `body`: where another shape is spoken."""
    said = error_json(wire.error_body(error)) if body is None else body
    response = Response(said, error.status, media_type="application/json")
    if error.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    if error.status in (429, 503):
        response.headers["retry-after"] = str(-(-(error.retry_after_ms or RETRY_AFTER_MS) // 1000))
    if close:
        response.headers["connection"] = "close"
    return response
