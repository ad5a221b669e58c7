"""What talking to a Role can end with. Each has the server's `code`, `message` and `hint`.

ClientError
 ├─ Refused       the server says no, and will say so again: a key, a Role that is not there, a frame it cannot take
 ├─ TurnFailed    the Role's own logic, or its model, failed at this message
 ├─ NotAnswered   it may work later, but not within the patience that was given; `code` is the last reason
 ├─ Unreachable   no gateway answered there at all
 └─ Closed        the session object was closed by its user
"""

from rolehost.client.frames import Frame, word
from rolehost_api.errors import RolehostError


class ClientError(RolehostError):
    """Root of what the client library raises."""

    code = "client_error"
    trace_id: str = ""
    """Of the trace of the turn that failed, the last one where it was tried again; empty where none was traced."""


class Refused(ClientError):
    code = "refused"


class TurnFailed(ClientError):
    code = "turn_failed"


class NotAnswered(ClientError):
    code = "not_answered"
    retryable = True


class Unreachable(NotAnswered):
    code = "unreachable"


class Closed(ClientError):
    code = "closed"


_KINDS: dict[str, type[ClientError]] = {
    "unreachable": Unreachable,
    "closed": Closed,
    "no_gateway": Unreachable,
    "broken": Unreachable,
}


def raised(error: Frame, *, by: Frame | None = None) -> ClientError:
    """The exception for an error's body; `by`: the end of the response that it came with.

    >>> raised({"code": "busy", "message": "8 wait", "hint": "", "retryable": True})
    NotAnswered('8 wait')
    >>> raised({"code": "unauthorized", "message": "no key", "hint": "Give one", "retryable": False})
    Refused('no key. Give one')
    """
    kind = _KINDS.get(error["code"])
    if kind is None:
        kind = NotAnswered if error["retryable"] else Refused if by is None else TurnFailed
    made = kind(error["message"] or error["code"], hint=error["hint"], code=error["code"], retryable=error["retryable"])
    made.trace_id = word(by or {}, "trace_id") or ""
    return made
