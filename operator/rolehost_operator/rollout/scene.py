"""What a decision about a rollout depends on, and what it comes to. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from rolehost_api.crd.role import RoleStatus
from rolehost_api.crd.rollout import Counts, Leaving, Past, Rollout, RolloutStatus, Share
from rolehost_operator.plan import Note
from rolehost_operator.rollout.verdict import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """One revision: what it is, and how it runs."""

    name: str
    sequence: int
    digest: str = ""
    schema_version: int = 1
    reads: frozenset[int] = frozenset()
    """State of which other versions it can read."""
    gates: Mapping[str, str] = field(default_factory=dict)
    """Name → Passed or Failed."""
    backend: str = ""
    """ModelBackend and model that answer for it, and a hash of what is declared of them."""
    serving: bool = False
    """Its logic is loaded in a sandbox that proved itself."""
    fault: tuple[str, str] | None = None
    """Reason and words where its logic does not load, or a sandbox of it is not what it must be."""
    breached: bool = False
    """The latter."""
    ready: int = 0
    """Pods."""
    refused: str = ""
    """Kubernetes' words where it is not let make the pods: a quota, above all."""
    failing: str = ""
    """Its words where they do not start."""
    idle: bool = False
    """Every gateway says that it has had no session for a while."""


@dataclass(frozen=True, slots=True)
class Warmth:
    """How many gateways did their part in warming what is new, of how many."""

    by: int = 0
    of: int = 0

    @property
    def done(self) -> bool:
        """
        >>> Warmth(1, 2).done, Warmth(2, 2).done, Warmth(3, 2).done
        (False, True, True)
        """
        return self.by >= self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    uid: str
    """Of the Role."""
    declared: Rollout
    status: RoleStatus
    """As it was written last: the state of every rollout."""
    latest: str
    """The revision of the present template; empty while there is none."""
    at: datetime
    revisions: Mapping[str, Runs] = field(default_factory=dict)
    promote: str = ""
    """The word of the annotation."""
    abort: str = ""
    pods: int = 2
    """So many must be Ready before a revision takes sessions."""
    judgement: Judgement | None = None
    """Of the epoch that `status` speaks of."""
    breaker: bool = False
    """A gateway stopped giving the new revision sessions."""
    counts: Counts = field(default_factory=Counts)
    """Of the rollout that `status` speaks of, as the gateways count."""
    warmth: Warmth = Warmth()
    """Of that rollout."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing advances."""

    reason: str
    message: str
    action: Literal["Hold", "Pause"] = "Hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The status in the making."""

    stable: str
    rollout: RolloutStatus
    leaving: tuple[Leaving, ...] = ()
    history: tuple[Past, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    stable: str
    canary: str
    traffic: tuple[Share, ...]
    leaving: tuple[Leaving, ...]
    rollout: RolloutStatus | None
    history: tuple[Past, ...]
    notes: tuple[Note, ...] = ()
    look_in: timedelta | None = None
    hold: Hold | None = None
    """What the Role's conditions say beside the rollout's own state."""
