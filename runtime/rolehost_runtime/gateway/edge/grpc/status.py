"""Errors in gRPC's words. What is stable is our own code, which every refusal carries in its trailers."""

from collections.abc import Sequence

from grpc import StatusCode

from rolehost_api.errors import NotFound, Overloaded, RolehostError, Unavailable
from rolehost_api.wire import FORGOTTEN, GONE
from rolehost_runtime.gateway.edge.hub import MOVED, SERVICE_RESTART
from rolehost_runtime.gateway.edge.outbox import TRY_AGAIN_LATER

CODE = "rolehost-code"
"""Trailer with the error's stable code, as it is in an error event."""
RETRY_AFTER = "rolehost-retry-after-ms"

_BY_HTTP = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.ABORTED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
}


def status(error: RolehostError) -> StatusCode:
    """By the status that the same error has over HTTP; a fault of ours is INTERNAL.

    >>> from rolehost_api.errors import NotFound
    >>> status(NotFound("there is no Role")).name, status(RolehostError("a bug")).name
    ('NOT_FOUND', 'INTERNAL')
    """
    return _BY_HTTP.get(error.status, StatusCode.INTERNAL)


def trailers(error: RolehostError) -> Sequence[tuple[str, str]]:
    after = () if error.retry_after_ms is None else ((RETRY_AFTER, str(error.retry_after_ms)),)
    return ((CODE, error.code), *after)


def ended(close_code: int) -> RolehostError | None:
    """What a socket says by a close code; None where all is well."""
    if close_code == SERVICE_RESTART:
        return Unavailable(MOVED, code="draining")
    if close_code == TRY_AGAIN_LATER:
        return Overloaded("this client reads too slowly", hint="Connect again, and read", code="slow_client")
    if close_code == GONE:
        return NotFound("this session was forgotten", hint="Begin a new one", code=FORGOTTEN)
    return None
