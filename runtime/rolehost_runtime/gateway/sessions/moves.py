"""What the ends of rollouts did to this gateway's sessions, and which candidates it holds back, for the operator."""

from collections import OrderedDict
from dataclasses import dataclass, field

from rolehost_api.observed import RolloutReport
from rolehost_runtime.gateway.tables import RoleEntry

MOST_ROLLOUTS = 10_000
"""Counted here at once: of all Roles, the one that was counted longest ago goes first."""
MOST_COUNTED = 65_536
"""Sessions of one rollout that are known to have been counted: one that is let go of and comes back counts once."""


@dataclass(slots=True)
class _Counted:
    migrated: int = 0
    drained: int = 0
    dropped: int = 0
    reset: int = 0
    breaker: bool = False
    sessions: set[int] = field(default_factory=set)


class Moves:
    """Cumulative since this gateway started, by Role and rollout."""

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[str, str, str], _Counted] = OrderedDict()

    def migrated(self, role: RoleEntry, key: str, *, reset: bool) -> None:
        """It goes on on another revision, with its typed state or (`reset`) without it."""
        counted = self._counted(role, role.traffic.rollout)
        if self._is_new(counted, key):
            counted.migrated += 1
            counted.reset += reset

    def drained(self, role: RoleEntry, key: str) -> None:
        """It ended on the revision that it was on."""
        counted = self._counted(role, role.traffic.rollout)
        counted.drained += self._is_new(counted, key)

    def dropped(self, role: RoleEntry, key: str) -> None:
        """Its sockets were closed."""
        counted = self._counted(role, role.traffic.rollout)
        counted.dropped += self._is_new(counted, key)

    def held_back(self, role: RoleEntry, rollout: str, *, tripped: bool) -> None:
        """Whether this gateway gives the rollout's candidate no new sessions."""
        self._counted(role, rollout).breaker = tripped

    def reports(self) -> tuple[RolloutReport, ...]:
        return tuple(
            RolloutReport(
                namespace=namespace,
                role=role,
                rollout=rollout,
                migrated=one.migrated,
                drained=one.drained,
                dropped=one.dropped,
                reset=one.reset,
                breaker=one.breaker,
            )
            for (namespace, role, rollout), one in sorted(self._of.items())
        )

    def _counted(self, role: RoleEntry, rollout: str) -> _Counted:
        where = (role.tenant.name, role.name, rollout)
        counted = self._of.setdefault(where, _Counted())
        self._of.move_to_end(where)
        while len(self._of) > MOST_ROLLOUTS:
            self._of.popitem(last=False)
        return counted

    @staticmethod
    def _is_new(counted: _Counted, key: str) -> bool:
        name = hash(key)
        if name in counted.sessions:
            return False
        if len(counted.sessions) < MOST_COUNTED:
            counted.sessions.add(name)
        return True
