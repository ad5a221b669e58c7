"""Calling the tenant's code: whatever comes out of it is one of the few things named here."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from rolehost.memory import Look
from rolehost.turn import Ask
from rolehost.web import Request
from rolehost_api.errors import LogicError


class HookFailed(Exception):
    """A hook's failure: its stable code, and the error behind it."""

    def __init__(self, code: str, cause: BaseException | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.cause = cause


class Returned(Exception):
    """A hook's coroutine came to its end."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def call(function: Callable[[Any], Any], turn: Any) -> Any:
    """Call a hook; an `async def` gives its coroutine. Raises HookFailed."""
    try:
        return function(turn)
    except BaseException as error:
        raise HookFailed(_code(error), error) from None


def advance(coroutine: Coroutine[Any, Any, Any], answer: Any, error: BaseException | None) -> Ask | Look | Request:
    """Send an answer, or an error, into a hook until it asks again. Raises HookFailed or Returned."""
    try:
        asked = coroutine.send(answer) if error is None else coroutine.throw(error)
    except StopIteration as returned:
        value = returned.value
    except BaseException as failed:
        raise HookFailed(_code(failed), failed) from None
    else:
        if isinstance(asked, Ask | Look | Request):
            return asked
        raise HookFailed("foreign_await", _foreign(coroutine))
    raise Returned(value)


def _foreign(coroutine: Coroutine[Any, Any, Any]) -> LogicError:
    """The error of a hook that awaits what nobody here can answer, with the place where it does."""
    error = LogicError(
        "a hook may await only what `t` gives it",
        hint="There is no event loop in a hook; ask the platform through `t`",
        code="foreign_await",
    )
    with suppress(BaseException):
        coroutine.throw(error)
    return error


def close(coroutine: Coroutine[Any, Any, Any]) -> None:
    """A hook may refuse to be closed, or fail while it is; neither matters any more."""
    with suppress(BaseException):
        coroutine.close()


def error_type(error: BaseException | None) -> str:
    """The name of an error's type, where it is a plain name: a class may be named after anything."""
    name = type(error).__name__ if error else ""
    return name if len(name) <= 128 and name.isascii() and (not name or name.isidentifier()) else "Exception"


def _code(error: BaseException) -> str:
    if isinstance(error, LogicError):
        return error.code
    if isinstance(error, RuntimeError) and "event loop" in str(error):
        return "foreign_await"
    return "hook_failed"
