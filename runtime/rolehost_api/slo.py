"""What gateways count of turns and sessions, and who reads it: the operator, alert rules, dashboards; and what the operator
makes of it.

Names and labels of series, each written once. A gateway classifies every turn against the
objectives of its own Role (`crd.role.Objective`), so one rule set serves all Roles.

    accepted ── cancelled by the client, invalid, refused by a limit ──▶ excluded, by why
        └────── ends ──▶ per objective good or bad
                          └─ one of the first FIRST_TURNS of a session that a rollout assigned ──▶ its score

A Role without objectives has one all the same, `DEFAULT_OBJECTIVE`.
"""

from rolehost_api.crd.role import Objective, ObjectiveType, RoleSpec

TARGET = "rolehost_slo_target"
"""Gauge {tenant, role, objective}: the target as a ratio, 0.995. Exported by gateways; NaN once the Role is deleted."""
WINDOW = "rolehost_slo_window_seconds"
"""Gauge {tenant, role, objective}."""
TURNS = "rolehost_slo_turns"
"""Counter (…_total) {tenant, role, revision, objective, outcome}: good or bad."""
EXCLUDED = "rolehost_slo_excluded_turns"
"""Counter (…_total) {tenant, role, why}: turns that not all objectives count: cancelled, invalid, limited or unasked."""
SESSIONS = "rolehost_rollout_sessions"
"""Counter (…_total) {tenant, role, rollout, epoch, revision, arm, percent, known, objective, stratum, outcome}: sessions
that a rollout assigned.

outcome `assigned`: with objective and stratum empty, once a unit; `good`, `bad`: once a session, objective and stratum.
`rollout`, `epoch`: RolloutStatus.id and .epoch. `revision`, `arm`, `percent`: of the Share that the session was given, as
it was then. `known`: user or anonymous. `stratum`: first (turn 1), later (turns 2 to FIRST_TURNS) or whole: any of
them, bad with the first bad turn, good with the last, or when the session or its horizon ends.
"""
ROLLOUT_TURNS = "rolehost_rollout_turns"
"""Counter (…_total) {tenant, role, rollout, epoch, revision, arm, percent}: turns of those sessions that ended, however. For minTurns."""
EVIDENCE = "rolehost_rollout_evidence"
"""Gauge {tenant, role, metric, direction}, of the operator that leads, while a rollout is judged: ln of the e-value for the
verdict `direction`, Unhealthy or Healthy, by `metric`: objective/stratum. Beside it EVIDENCE_THRESHOLD, from which on it is proven."""
EVIDENCE_THRESHOLD = "rolehost_rollout_evidence_threshold"
VERDICT = "rolehost_rollout_verdict"
"""Gauge {tenant, role, verdict}: 1 for the last one of Healthy, Unhealthy and Unknown, 0 for the others."""
SAMPLES = "rolehost_rollout_samples"
"""Gauge {tenant, role}: sessions of the new revision that it rests on. Beside it SAMPLES_WANTED: how many are expected to do."""
SAMPLES_WANTED = "rolehost_rollout_samples_wanted"

FIRST_TURNS = 5
"""A session is scored by so many of its first turns."""
HORIZON_SECONDS = 120
"""From its assignment on; a session whose horizon passes is scored by the turns that it had."""
GOOD, BAD, ASSIGNED = "good", "bad", "assigned"
CANCELLED, INVALID, LIMITED, UNASKED = "cancelled", "invalid", "limited", "unasked"
"""Why a turn is left out; unasked: a timer's, that nobody waited for."""
FIRST, LATER, WHOLE = "first", "later", "whole"
USER, ANONYMOUS = "user", "anonymous"
BUCKETS = 10_000
"""A unit's bucket is below this; one percent is a hundred of them."""

DEFAULT_OBJECTIVE = Objective(name="turn-success", type=ObjectiveType.SUCCESS, target="99")


def objectives(spec: RoleSpec) -> tuple[Objective, ...]:
    """What a Role's turns are held against.

    >>> from rolehost_api.crd.role import RoleTemplate
    >>> [one.name for one in objectives(RoleSpec(template=RoleTemplate()))]
    ['turn-success']
    """
    return tuple(spec.slo.objectives) if spec.slo else (DEFAULT_OBJECTIVE,)
