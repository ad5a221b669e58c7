"""Who is told of what side of a comparison a session is on, and what may be told of how it fared."""

from typing import Protocol

from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.gateway.tables import RoleEntry


class CohortSink(Protocol):
    def assigned(self, role: RoleEntry, session_key: str, assignment: Assignment) -> None:
        """A unit was given its side by this session: once a unit and evidence epoch, over all gateways."""


class NoCohorts:
    def assigned(self, role: RoleEntry, session_key: str, assignment: Assignment) -> None:
        """Nobody counts."""
