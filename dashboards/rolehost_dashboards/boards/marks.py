"""What is marked in time on several boards."""

from rolehost_dashboards.boards.board import Note
from rolehost_dashboards.panels import BLUE
from rolehost_dashboards.queries import ROLE, TENANT

TRANSITIONS = "rolehost_rollout_transitions_total"
STEP = "1m"


def _news(where: str) -> str:
    """Where the counter grew within a step. One that was not there before grew too: it begins with its first event."""
    now = f"sum by (role, action) ({TRANSITIONS}{{{where}}})"
    before = f"sum by (role, action) ({TRANSITIONS}{{{where}}} offset {STEP})"
    return f"(({now} - {before}) > 0) or ({now} unless {before})"


ROLLOUTS = Note("Rollouts", _news(ROLE), "{{role}}: {{action}}", BLUE, STEP)
"""Steps, promotions and rollbacks, as the operator counts them."""
TENANTS_ROLLOUTS = Note("Rollouts", _news(TENANT), "{{role}}: {{action}}", BLUE, STEP)
