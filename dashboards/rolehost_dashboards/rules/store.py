"""Redis, and where old records go."""

from rolehost_dashboards.rules.counting import rose
from rolehost_dashboards.rules.shape import Alert, Group, Scope, Severity

PAGE, TICKET, PLATFORM = Severity.PAGE, Severity.TICKET, Scope.PLATFORM
FULL = "max(rolehost_store_used_bytes / (rolehost_store_max_bytes > 0))"

GROUP = Group(
    "rolehost-store",
    "30s",
    (
        Alert(
            "RolehostStoreFills",
            f"{FULL} > 0.8",
            TICKET,
            PLATFORM,
            "Redis is {{ $value | humanizePercentage }} full",
            "Tenants that take more than their share begin no new sessions.",
            held="5m",
        ),
        Alert(
            "RolehostStoreFull",
            f"{FULL} > 0.95",
            PAGE,
            PLATFORM,
            "Redis is {{ $value | humanizePercentage }} full",
            "When it is full no turn becomes durable: every one fails with state_full.",
            held="1m",
        ),
        Alert(
            "RolehostStoreTroubles",
            f"{rose('rolehost_gateway_store_troubles_total', '5m', 'what')} > 20",
            PAGE,
            PLATFORM,
            "Redis does not do what gateways ask of it: {{ $labels.what }}",
            "Turns fail with state_unavailable or state_forbidden.",
            held="1m",
        ),
        Alert(
            "RolehostStoreDenies",
            "max(rolehost_store_denied) - max(rolehost_store_denied offset 15m) > 0",
            TICKET,
            PLATFORM,
            "Redis refused somebody who had no right or no password there",
            "Anybody's connections count, not only those of gateways.",
        ),
        Alert(
            "RolehostRecordsSetAside",
            f"{rose('rolehost_set_aside_total', '1h', 'why')} > 0",
            TICKET,
            PLATFORM,
            "Records in Redis could not be used: {{ $labels.why }}",
            "A copy is in the session's quarantine; its client may have been told that something is lost.",
        ),
        Alert(
            "RolehostSessionsMissing",
            "sum(increase(rolehost_retention_missing_sessions_total[2h])) > 0",
            TICKET,
            PLATFORM,
            "Redis lost sessions before their time",
            "They are on their Role's list and not in Redis: a restore went back, or somebody deleted keys.",
        ),
        Alert(
            "RolehostTenantsOverShare",
            "max(rolehost_tenants_over_share) > 0",
            TICKET,
            PLATFORM,
            "{{ $value }} tenants take no new sessions",
            "Redis is over 80 % full and they take more than their share. Open sessions go on.",
            held="15m",
        ),
        Alert(
            "RolehostNewSessionsRefused",
            f"{rose('rolehost_new_sessions_refused_total', '15m', 'tenant', 'code')} > 20",
            TICKET,
            Scope.ROLE,
            "{{ $labels.tenant }}: new sessions are refused ({{ $labels.code }})",
            "Those that are there go on.",
        ),
        Alert(
            "RolehostArchiveFails",
            f"{rose('rolehost_archive_failures_total', '1h', 'code')} > 5",
            TICKET,
            PLATFORM,
            "Old records do not reach the archive ({{ $labels.code }})",
            "They stay in Redis, which fills.",
        ),
        Alert(
            "RolehostRetentionFails",
            f"{rose('rolehost_retention_failures_total', '3h', 'code')} > 5",
            TICKET,
            PLATFORM,
            "What is left of old sessions cannot be swept ({{ $labels.code }})",
            "It is kept longer than its Role says.",
        ),
    ),
)
