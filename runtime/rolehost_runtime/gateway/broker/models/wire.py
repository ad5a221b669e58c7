"""What one vendor's wire is to the shell that speaks it: a request out, and a reading of the answer. Sans-IO."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.wire import Usage
from rolehost_runtime.core.models.abilities import Able
from rolehost_runtime.gateway.broker.models.calls import CallPieces
from rolehost_runtime.gateway.ports import ModelRequest


@dataclass(frozen=True, slots=True)
class Question:
    """One POST."""

    path: str
    """Behind the backend's baseURL."""
    body: bytes
    headers: Mapping[str, str]


class Reading(Protocol):
    """One answer, as far as it has come."""

    finish_reason: str
    """Empty until the server said why it stopped."""
    usage: Usage | None
    """None: the server did not count."""
    calls: CallPieces
    over: bool
    """The wire's own last word was said: nothing comes any more."""

    def feed(self, data: bytes) -> list[str]:
        """The text in these bytes, piece by piece.

        Raises msgspec.MsgspecError, UnicodeDecodeError, LineTooLong or RecursionError where they are not the wire, and
        RolehostError where the server says that it failed.
        """

    def close(self) -> list[str]:
        """The bytes ended: the text in what was left of them. Raises as `feed` does."""


class Wire(Protocol):
    name: str
    """As people call it."""

    def ask(self, backend: BackendSpec, request: ModelRequest, able: Able, key: str) -> Question:
        """`key` is empty where none is declared."""

    def reading(self, *, whole: bool) -> Reading:
        """Of an answer that streams, or of one that comes as a whole."""
