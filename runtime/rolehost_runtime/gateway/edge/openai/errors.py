"""Errors as OpenAI's clients read them, under the paths that they ask."""

from msgspec import Struct
from starlette.responses import Response

from rolehost_api import wire
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.edge.bodies import error_response

PATHS = ("/v1/models", "/v1/chat/", "/v1/completions", "/v1/responses", "/v1/embeddings")
"""What is asked here is asked by a client of OpenAI's, also where nothing answers."""
PARAMS = {
    "role_not_found": "model",
    "invalid_role_name": "model",
    "invalid_session_id": "session_id",
    "response_not_found": "previous_response_id",
    "n_not_supported": "n",
    "message_too_long": "messages",
    "last_message_not_user": "messages",
    "content_not_supported": "messages",
    "speaker_not_supported": "messages",
}


class OpenAIError(Struct, frozen=True, kw_only=True):
    message: str
    type: str
    param: str | None
    code: str
    """Stable, and one of ours."""


class OpenAIErrorAnswer(Struct, frozen=True):
    error: OpenAIError


def refusal(path: str, error: RolehostError, *, close: bool = False) -> Response:
    """An error as whoever asked at this path reads it."""
    if not path.startswith(PATHS):
        return error_response(error, close=close)
    body = wire.encode(OpenAIErrorAnswer(openai_error(wire.error_body(error), error.status)))
    response = error_response(error, close=close, body=body)
    # Their SDK sends again what failed with 408, 409, 429 or 5xx, unless it is told.
    response.headers["x-should-retry"] = "true" if error.retryable else "false"
    return response


def openai_error(body: wire.ErrorBody, status: int) -> OpenAIError:
    message = f"{body.message}. {body.hint}" if body.hint else body.message
    return OpenAIError(message=message, type=kind_of(status), param=PARAMS.get(body.code), code=body.code)


def kind_of(status: int) -> str:
    """
    >>> [kind_of(status) for status in (400, 401, 403, 404, 429, 503)]    # doctest: +NORMALIZE_WHITESPACE
    ['invalid_request_error', 'authentication_error', 'permission_error', 'invalid_request_error',
     'rate_limit_error', 'server_error']
    """
    known = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return known.get(status, "invalid_request_error" if status < 500 else "server_error")
