"""Where the end of every turn is told, to be held against its Role's objectives. A port of sessions and edge."""

from typing import Protocol

from rolehost_api.errors import RolehostError
from rolehost_api.wire import Metrics
from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.gateway.tables import RoleEntry, Tenant


class Scores(Protocol):
    """None of these raises, waits, or keeps what was said."""

    def assigned(self, role: RoleEntry, key: str, assignment: Assignment) -> None:
        """A session was given its side of a comparison. Said again, it changes nothing."""

    def asked(self, key: str) -> None:
        """Somebody says something in that session; `answered` follows, whatever comes of it."""

    def answered(self, key: str) -> None:
        """That is over."""

    def turn(
        self,
        role: RoleEntry,
        revision: str,
        outcome: str,
        metrics: Metrics,
        *,
        key: str,
        assignment: Assignment | None = None,
        asked: bool = True,
    ) -> None:
        """A turn ended; `outcome` is a durable one's status, else the code it failed with. `revision`: its name, empty
        where it had not come to one. `metrics`: what its client is told. `asked`: not by a timer."""

    def refused(self, tenant: Tenant, role_name: str, error: RolehostError) -> None:
        """A message never came to a session."""


class NoScores:
    """Counts nothing."""

    def assigned(self, role: RoleEntry, key: str, assignment: Assignment) -> None:
        """Nothing."""

    def asked(self, key: str) -> None:
        """Nothing."""

    def answered(self, key: str) -> None:
        """Nothing."""

    def turn(
        self,
        role: RoleEntry,
        revision: str,
        outcome: str,
        metrics: Metrics,
        *,
        key: str,
        assignment: Assignment | None = None,
        asked: bool = True,
    ) -> None:
        """Nothing."""

    def refused(self, tenant: Tenant, role_name: str, error: RolehostError) -> None:
        """Nothing."""
