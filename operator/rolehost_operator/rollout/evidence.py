"""What was counted of the sessions that one rollout assigned: plain numbers, whoever read them.

Cumulative and whole: the sum over all gateways since the epoch began, with restarts of gateways
accounted for. Series and labels: `rolehost_api.slo`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rolehost_api.crd.rollout import Arm


@dataclass(frozen=True, slots=True)
class Question:
    """What sessions are compared by: one objective, in first or in later turns, of users or of anonymous traffic."""

    objective: str
    stratum: str
    known: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Sessions with a score; each is in one of them."""

    good: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Cohort:
    """The sessions that one revision was given in one epoch, by one share of the buckets."""

    epoch: int
    revision: str
    arm: Arm
    percent: int
    """Its own share of new sessions, of 100."""
    assigned: Mapping[str, int] = field(default_factory=dict)
    """Sessions by `known`: user, anonymous. Scored or not yet."""
    turns: int = 0
    """Of these sessions, that ended."""
    tallies: Mapping[Question, Tally] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a rollout at `at`, the newest sample's time by Prometheus' clock."""

    rollout: str
    at: datetime | None = None
    cohorts: tuple[Cohort, ...] = ()
    customs: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    """Custom metrics' samples by name, oldest first; distinct in time."""
    missing: str = ""
    """A CamelCase reason why nothing can be said now, e.g. PrometheusUnreachable; empty where all is there."""
    detail: str = ""
    """The sentence to that reason: what is missing, and what to do."""
    metric_troubles: Mapping[str, str] = field(default_factory=dict)
    """Custom metrics that give no number, by name, and why: empty vector, NaN, two series."""
