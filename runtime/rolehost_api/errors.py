"""Errors with stable codes, a next step, and never any content.

RolehostError
 ├─ BadRequest              the caller's input; what to write instead
 │   ├─ InvalidManifest     carries every finding, each with its path
 │   ├─ InvalidBundle       names the entry of the archive
 │   └─ ProtocolViolation   the other end of a link or socket broke the protocol
 ├─ Unauthorized            no key, or one that is not valid (any more)
 ├─ Forbidden               a valid key without the scope, or a foreign Origin
 ├─ NotFound                not there, or not this caller's: the two read the same
 ├─ Conflict                the state moved on: fenced, superseded, already bound
 ├─ Overloaded              a bound was reached; try again later
 ├─ Unavailable             something that we depend on is away
 └─ LogicError              the tenant's code: its type, file and line, not its text
"""

from collections.abc import Sequence

from msgspec import Struct


class RolehostError(Exception):
    """Root of every error we raise on purpose; anything else is a bug.

    `code` is stable and goes to metrics, events and HTTP bodies. `hint` tells the
    reader what to do next. Neither ever contains conversation text or a secret.
    """

    code = "internal"
    status = 500
    close_code = 1011
    retryable = False
    retry_after_ms: int | None = None
    """When a retry may succeed, where somebody said so."""

    def __init__(self, message: str, *, hint: str = "", code: str = "", retryable: bool | None = None) -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class BadRequest(RolehostError):
    """The caller sent something that we cannot accept; nothing was changed."""

    code = "bad_request"
    status = 400
    close_code = 4400


class Finding(Struct, frozen=True):
    """One thing wrong with a manifest: where, what, and what to write instead."""

    path: str
    message: str
    hint: str = ""
    line: int | None = None
    column: int | None = None
    code: str = ""
    """Stable, where what is wrong has one."""
    excerpt: str = ""
    """The manifest's own line with what is wrong underlined, where the place is known so closely."""

    def shown(self, file: str) -> str:
        """As compilers do it: file:line:column, what is wrong, and the place underlined.

        >>> print(Finding("spec", "has no end", "Write one", 3, 5, "no_end", "spec: {").shown("role.yaml"))
        role.yaml:3:5: spec: has no end [no_end]. Write one
            spec: {
        """
        where = ":".join(str(part) for part in (file, self.line or 1, self.column) if part)
        said = f"{where}: {self.path}: {self.message}" + (f" [{self.code}]" if self.code else "")
        shown = [said + (f". {self.hint}" if self.hint else ""), *self.excerpt.splitlines()]
        return "\n    ".join(shown)

    def __str__(self) -> str:
        where = f"{self.path} (line {self.line})" if self.line else self.path
        return f"{where}: {self.message}" + (f". {self.hint}" if self.hint else "")


class InvalidManifest(BadRequest):
    """A manifest that cannot be accepted; `findings` holds all of its faults at once."""

    code = "invalid_manifest"

    def __init__(self, name: str, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        lines = [
            line for one in findings for line in (f"  {one}", *(f"      {text}" for text in one.excerpt.splitlines()))
        ]
        super().__init__("\n".join((f"{name} is not valid:", *lines)))


class InvalidBundle(BadRequest):
    """An archive of role logic that breaks a rule; names the entry, extracts nothing."""

    code = "invalid_bundle"


class ProtocolViolation(BadRequest):
    """The peer broke the protocol; its link or socket is closed."""

    code = "protocol_violation"
    close_code = 1002


class Unauthorized(RolehostError):
    """No key, or one that is unknown, revoked or expired."""

    code = "unauthorized"
    status = 401
    close_code = 4401


class Forbidden(RolehostError):
    """The key is valid but may not do this, or the page's Origin is not allowed."""

    code = "forbidden"
    status = 403
    close_code = 4403


class NotFound(RolehostError):
    """There is no such thing for this caller; another tenant's reads the same."""

    code = "not_found"
    status = 404
    close_code = 4404


class Conflict(RolehostError):
    """The state moved on under the caller."""

    code = "conflict"
    status = 409
    close_code = 4409


class Overloaded(RolehostError):
    """A bound was reached: rate, queue, sockets or size. Later it may go through."""

    code = "overloaded"
    status = 429
    close_code = 4429
    retryable = True


class Unavailable(RolehostError):
    """Something we depend on is away: Redis, the model, a pod, the apiserver."""

    code = "unavailable"
    status = 503
    close_code = 1013
    retryable = True


class LogicError(RolehostError):
    """The tenant's role logic failed. Type, file and line; never the message's text."""

    code = "logic_error"
    status = 500
