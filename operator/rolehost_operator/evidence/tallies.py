"""Sessions that rollouts moved or ended, over all gateways and those that were there before them.

A gateway counts since it started, so what an earlier life of it counted is added.
"""

from collections import OrderedDict
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from rolehost_api.crd.rollout import Counts
from rolehost_api.observed import Observed, RolloutReport
from rolehost_operator.observed import Key, Told

MOST_ROLES, MOST_EACH = 20_000, 4
Life = str
"""Of a gateway: its name and a nonce of its start."""


@dataclass(slots=True)
class _Lives:
    said: dict[Life, RolloutReport] = field(default_factory=dict)
    before: Counts = field(default_factory=Counts)
    """Of lives that are over."""

    def end(self, life: Life) -> None:
        if last := self.said.pop(life, None):
            self.before = _sum((self.before, _counts(last)))


class Tallies:
    def __init__(self) -> None:
        self._roles: OrderedDict[Key, OrderedDict[str, _Lives]] = OrderedDict()
        self._lives: dict[str, Life] = {}

    def heard(self, gateway: str, report: Observed) -> Set[Key]:
        """Roles of whose rollouts something else is said now."""
        if self._lives.get(gateway, report.gateway) != report.gateway:
            self.gone(gateway)
        self._lives[gateway] = report.gateway
        concerned: set[Key] = set()
        for one in report.rollouts:
            lives = self._of((one.namespace, one.role), one.rollout)
            if lives.said.get(report.gateway) != one:
                lives.said[report.gateway] = one
                concerned.add((one.namespace, one.role))
        return concerned

    def gone(self, gateway: str) -> None:
        """It counts no more; what it counted stays, that it stopped giving new sessions does not."""
        if life := self._lives.pop(gateway, None):
            for rollouts in self._roles.values():
                for lives in rollouts.values():
                    lives.end(life)

    def of(self, key: Key) -> dict[str, Told]:
        return {
            rollout: Told(
                _sum((lives.before, *map(_counts, lives.said.values()))),
                any(one.breaker for one in lives.said.values()),
            )
            for rollout, lives in self._roles.get(key, {}).items()
        }

    def _of(self, key: Key, rollout: str) -> _Lives:
        rollouts = self._roles.setdefault(key, OrderedDict())
        lives = rollouts.setdefault(rollout, _Lives())
        if len(rollouts) > MOST_EACH:
            rollouts.popitem(last=False)
        if len(self._roles) > MOST_ROLES:
            self._roles.popitem(last=False)
        return lives


def _counts(one: RolloutReport) -> Counts:
    return Counts(migrated=one.migrated, drained=one.drained, dropped=one.dropped, reset=one.reset)


def _sum(counts: Iterable[Counts]) -> Counts:
    every = list(counts)
    return Counts(
        migrated=sum(one.migrated for one in every),
        drained=sum(one.drained for one in every),
        dropped=sum(one.dropped for one in every),
        reset=sum(one.reset for one in every),
    )
