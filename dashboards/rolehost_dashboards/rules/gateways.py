"""Gateways: are they there, do they see the cluster, whom do they meet."""

from rolehost_dashboards.rules.counting import rose
from rolehost_dashboards.rules.shape import Alert, Group, Scope, Severity

PAGE, TICKET, PLATFORM = Severity.PAGE, Severity.TICKET, Scope.PLATFORM
GATEWAYS = "count(rolehost_gateway_sockets)"

GROUP = Group(
    "rolehost-gateways",
    "30s",
    (
        Alert(
            "RolehostGatewaysAbsent",
            "absent(rolehost_gateway_sockets)",
            PAGE,
            PLATFORM,
            "No gateway is scraped",
            "Either none runs and nobody can talk to any Role, or Prometheus does not reach them and every other alert is "
            "blind.",
            held="2m",
        ),
        Alert(
            "RolehostOneGatewayLeft",
            f"{GATEWAYS} == 1 and max_over_time({GATEWAYS}[6h:5m]) > 1",
            TICKET,
            PLATFORM,
            "One gateway is left of several",
            "Its end would disconnect everybody.",
            held="10m",
        ),
        Alert(
            "RolehostGatewayBlind",
            "max by (kind) (rolehost_gateway_watch_last_event_age_seconds) > 140",
            PAGE,
            PLATFORM,
            "A gateway has not heard of {{ $labels.kind }} for {{ $value | humanizeDuration }}",
            "Sessions go on, but it does not learn of new pods, of changed Roles, or that a rollout was taken back.",
            held="5m",
        ),
        Alert(
            "RolehostTablesStale",
            "max(rolehost_tables_stale) == 1",
            TICKET,
            PLATFORM,
            "A gateway serves from the last good tables",
            "It started without the apiserver and knows what was so when it was last written down.",
            held="10m",
        ),
        *(
            Alert(
                "RolehostWatchesBreak",
                f"sum by (kind) (increase({counter}[15m])) > 10",
                TICKET,
                PLATFORM,
                f"Watches of {{{{ $labels.kind }}}} break again and again in the {who}",
                "What changes in the cluster is learnt late.",
                held="15m",
                labels={"component": who},
            )
            for who, counter in (
                ("gateway", "rolehost_gateway_watch_failures_total"),
                ("operator", "rolehost_operator_watch_failures_total"),
            )
        ),
        Alert(
            "RolehostLoopLags",
            "max by (instance) (histogram_quantile(0.99, "
            "sum by (instance, le) (rate(rolehost_event_loop_lag_seconds_bucket[5m])))) > 0.25",
            TICKET,
            PLATFORM,
            "The event loop at {{ $labels.instance }} is {{ $value | humanizeDuration }} late",
            "Whatever a client sends there, or a pod, waits at least so long.",
            held="10m",
        ),
        Alert(
            "RolehostObjectsUnread",
            f"{rose('rolehost_gateway_watch_skipped_total', '1h', 'kind')} > 0",
            TICKET,
            PLATFORM,
            "Gateways left out objects of kind {{ $labels.kind }} that they could not read",
            "Whatever these declare is not served.",
        ),
        Alert(
            "RolehostPodsNotAttested",
            "sum(increase(rolehost_gateway_pods_not_attested_total[15m])) > 0",
            TICKET,
            PLATFORM,
            "Something listened at a pod's address and was not that pod",
            "Nothing was sent to it. Once is an address that was used anew; again and again is somebody who tries.",
        ),
    ),
)
