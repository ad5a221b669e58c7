"""What is to be done about one Role: plain values that the shell carries out in order."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from rolehost_api.crd.role import RoleStatus
from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import FRESH, Memory
from rolehost_operator.rollout.verdict import Judgement

NOW = timedelta(0)


@dataclass(frozen=True, slots=True)
class Prune:
    """Delete this object, if it still is the one that was seen."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Note:
    """A Kubernetes Event about the Role. Best effort; never any content."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    share: tuple[KubeObject, ...] = ()
    """Applied first and under another field manager, so that what `apply` leaves out is not lost."""
    apply: tuple[KubeObject, ...] = ()
    prune: tuple[Prune, ...] = ()
    status: RoleStatus | None = None
    """The whole status to write; None where it is right as it is."""
    status_first: bool = False
    """It says where sessions go, and that waits for no other write: another one may be refused."""
    notes: tuple[Note, ...] = ()
    requeue_after: timedelta | None = None
    """Look again then even if nothing rings; `NOW`: as soon as this is carried out."""
    rolls: tuple[str, ...] = ()
    """Deployments in `apply` that begin to roll to the platform's present runtime."""
    waits: bool = False
    """A Deployment of this Role waits for its turn to do so."""
    judgement: Judgement | None = None
    """Of the rollout that goes on: what this was decided by; None where nothing is judged."""
    memory: Memory = FRESH
    """To be handed back in the next `Observed`."""

    @property
    def writes(self) -> int:
        return len(self.share) + len(self.apply) + len(self.prune) + (self.status is not None)
