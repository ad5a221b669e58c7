"""The operator: is there one that decides, does it see the cluster, does it get on."""

from rolehost_dashboards.rules.shape import Alert, Group, Scope, Severity

PAGE, TICKET, PLATFORM = Severity.PAGE, Severity.TICKET, Scope.PLATFORM

GROUP = Group(
    "rolehost-operator",
    "30s",
    (
        Alert(
            "RolehostOperatorWithoutLeader",
            "absent(rolehost_operator_leader == 1)",
            PAGE,
            PLATFORM,
            "No operator leads",
            "Sessions go on. No rollout is judged, so a bad revision keeps the traffic that it has; nothing is scaled.",
            held="3m",
        ),
        Alert(
            "RolehostOperatorBlind",
            "max by (kind) (rolehost_operator_watch_last_event_age_seconds) > 320",
            PAGE,
            PLATFORM,
            "An operator has not heard of {{ $labels.kind }} for {{ $value | humanizeDuration }}",
            "What changes in the cluster is not acted on.",
            held="5m",
        ),
        Alert(
            "RolehostGatewaysUnheard",
            "max(rolehost_operator_gateways_reporting) == 0",
            TICKET,
            PLATFORM,
            "No gateway reports to the operator",
            "Roles say that they are not ready, and pods are not scaled by their sessions.",
            held="5m",
        ),
        Alert(
            "RolehostUpgradeHalted",
            "max(rolehost_operator_upgrade_halted) == 1",
            TICKET,
            PLATFORM,
            "An upgrade of sandboxes stands still",
            "New pods do not come up, so no more are replaced. The old ones serve.",
            held="5m",
        ),
        Alert(
            "RolehostRolesWait",
            "max(rolehost_operator_queue_depth) > 100",
            TICKET,
            PLATFORM,
            "{{ $value }} Roles wait to be looked after",
            "Changes take effect late.",
            held="15m",
        ),
        Alert(
            "RolehostReconcilesFail",
            "sum by (outcome) (increase(rolehost_operator_reconciles_total{outcome=~'failed|refused|contested'}[15m])) > 10",
            TICKET,
            PLATFORM,
            "Roles cannot be looked after ({{ $labels.outcome }})",
            "Each is tried again, ever more slowly.",
            held="15m",
        ),
        Alert(
            "RolehostNamespacesWithoutRights",
            "max(rolehost_operator_namespaces_without_rights) > 0",
            TICKET,
            PLATFORM,
            "{{ $value }} tenants' namespaces refuse the operator",
            "Their label is there and the operator's rights are not, so their Roles wait.",
            held="15m",
        ),
    ),
)
