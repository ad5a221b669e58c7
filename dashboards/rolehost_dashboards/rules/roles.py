"""What concerns one Role or one tenant, beside its objectives; and model servers, which concern all that use them."""

from rolehost_dashboards.rules.counting import rose
from rolehost_dashboards.rules.shape import Alert, Group, Scope, Severity

TICKET = Severity.TICKET

ROLLOUTS = Group(
    "rolehost-rollouts",
    "30s",
    (
        Alert(
            "RolehostRolledBack",
            "time() - max by (tenant, role) (rolehost_rollout_rolled_back_timestamp_seconds{automatic='true'}) < 3600",
            TICKET,
            Scope.ROLE,
            "{{ $labels.tenant }}/{{ $labels.role }}: a revision was rolled back",
            "It was worse than the stable one beside it. New sessions go to the stable one; nothing burns any more.",
        ),
        Alert(
            "RolehostRolloutStalled",
            "max by (tenant, role, why) (rolehost_rollout_unknown)\n"
            "and on (tenant, role) max by (tenant, role) (rolehost_rollout_progress_age_seconds)\n"
            "> 2 * clamp_min(max by (tenant, role) (rolehost_rollout_pause_seconds), 60)",
            TICKET,
            Scope.ROLE,
            "{{ $labels.tenant }}/{{ $labels.role }}: a rollout cannot be judged for want of {{ $labels.why }}",
            "It holds for more than twice its step's pause: weights stay as they are, until its deadline ends it.",
            held="1m",
        ),
        Alert(
            "RolehostRolloutStopped",
            "max by (tenant, role) (rolehost_rollout_stage{stage='Stopped'}) == 1",
            TICKET,
            Scope.ROLE,
            "{{ $labels.tenant }}/{{ $labels.role }}: a rollout is stopped and waits for somebody",
            "The new revision takes no new sessions; those that it has stay on it.",
            held="1m",
        ),
    ),
)

ROLES = Group(
    "rolehost-roles",
    "30s",
    (
        Alert(
            "RolehostGuardFails",
            f"{rose('rolehost_guard_failures_total', '15m', 'tenant', 'role', 'policy', 'code')} > 5",
            TICKET,
            Scope.ROLE,
            "{{ $labels.tenant }}/{{ $labels.role }}: a guard cannot judge ({{ $labels.code }}), and counts as "
            "{{ $labels.policy }}",
            "Open: texts pass unjudged. Closed: people are not answered.",
        ),
        Alert(
            "RolehostTokensSpent",
            f"{rose('rolehost_model_over_budget_total', '15m', 'tenant', 'backend')} > 0",
            TICKET,
            Scope.ROLE,
            "{{ $labels.tenant }} has spent its budget at {{ $labels.backend }}",
            "Its turns that need this backend fail with over_budget until the budget begins anew.",
        ),
        Alert(
            "RolehostTimersFail",
            f"""{rose("rolehost_timers_total", "1h", where="outcome='failed'")} > 5""",
            TICKET,
            Scope.PLATFORM,
            "Roles' timers fail",
            "What they would have said is not said.",
        ),
        Alert(
            "RolehostModelLeftAlone",
            "max by (backend) (rolehost_model_circuit) == 2",
            TICKET,
            Scope.PLATFORM,
            "Model backend {{ $labels.backend }} fails and is left alone",
            "Roles get their answers from its fallbacks, or none.",
            held="5m",
        ),
    ),
)
