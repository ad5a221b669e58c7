"""The platform itself: its gateways by what they are asked for, its processes by what they use, Redis, the operator."""

from rolehost_dashboards.boards.board import Board, Section, Variable
from rolehost_dashboards.panels import RED, YELLOW, Query, lines, number, percentiles
from rolehost_dashboards.queries import SPAN, part, quantile, rate, top

TURNS, FIRST = "rolehost_turns_total", "rolehost_turn_first_token_seconds"
GATEWAY = 'instance=~"$instance"'
MOST = 10
OF = "{{job}} {{instance}}"


def board() -> Board:
    return Board(
        name="platform",
        title="rolehost: the platform",
        description="All tenants together: gateways, models, Redis and the operator, and the processes that they are.",
        variables=(Variable("instance", "Gateway", "label_values(rolehost_gateway_sockets, instance)", many=True),),
        sections=(_now(), _asked(), _models(), _processes(), _redis(), _cluster()),
        links=(("tenant", "A tenant"), ("role", "A Role"), ("sandbox", "Pods"), ("rollout", "A rollout")),
    )


def _now() -> Section:
    return Section(
        "Now",
        (
            number(
                "Sockets open now",
                "WebSockets of all gateways. To 0 at once: the edge, or all gateways.",
                "short",
                Query("sum(rolehost_gateway_sockets)", "sockets"),
            ),
            number("Turns a second", "Of all tenants.", "reqps", Query(rate(TURNS), "turns")),
            number(
                "Turns that failed",
                "Of all turns that no user cancelled.",
                "percentunit",
                Query(part(TURNS, 'outcome!="completed"', 'outcome!="cancelled"'), "failed"),
                limits=((0.01, YELLOW), (0.05, RED)),
            ),
            number(
                "First token, p99",
                "Over all Roles; one loud Role can make it. Then look at tenants.",
                "s",
                Query(quantile(0.99, FIRST), "p99"),
                limits=((5, YELLOW), (15, RED)),
            ),
            number(
                "Memory of Redis",
                "Of what it may use. From 80 % on the tenants over their share begin no new sessions.",
                "percentunit",
                Query("max(rolehost_store_used_bytes) / (max(rolehost_store_max_bytes) > 0)", "used"),
                limits=((0.7, YELLOW), (0.8, RED)),
                empty="no bound",
            ),
            number(
                "Operators that lead",
                "One, always. 0: nothing is reconciled; what runs goes on.",
                "short",
                Query("sum(rolehost_operator_leader)", "leaders"),
                limits=((float("-inf"), RED), (1, "green"), (2, RED)),
            ),
        ),
    )


def _asked() -> Section:
    return Section(
        "What gateways are asked for (rate, errors, duration)",
        (
            lines(
                "Frames",
                "WebSocket frames and gRPC messages of clients.",
                "ops",
                Query(rate("rolehost_gateway_frames_total", GATEWAY, "direction"), "{{direction}}"),
            ),
            lines(
                "Turns by outcome",
                "Of all tenants, by stable code.",
                "reqps",
                Query(top(MOST, rate(TURNS, GATEWAY, "outcome")), "{{outcome}}"),
                stacked=True,
            ),
            lines(
                "Errors told to clients",
                "By stable code; docs/client.md says what each means.",
                "cps",
                Query(top(MOST, rate("rolehost_gateway_errors_total", GATEWAY, "code")), "{{code}}"),
            ),
            lines("First token", "Over all Roles. The dots are exemplars.", "s", *percentiles(FIRST, GATEWAY)),
            lines(
                "Whole turn",
                "Over all Roles, until it is durable.",
                "s",
                *percentiles("rolehost_turn_seconds", GATEWAY),
            ),
            lines(
                "Round trip to clients",
                "Between a WebSocket's ping and its pong: the network's part, which no Role can help.",
                "s",
                *percentiles("rolehost_gateway_round_trip_seconds", GATEWAY, exemplars=False),
            ),
            lines(
                "WebSocket handshakes",
                "By outcome. Many refusals with few sockets: keys, origins, or a client that tries again too fast.",
                "reqps",
                Query(top(8, rate("rolehost_gateway_handshakes_total", GATEWAY, "code")), "{{code}}"),
                width=12,
            ),
            lines(
                "REST requests",
                "By status; the busiest first.",
                "reqps",
                Query(
                    top(8, rate("rolehost_gateway_requests_total", GATEWAY, "route, status")), "{{route}} {{status}}"
                ),
                width=12,
            ),
            lines(
                "Clients given up",
                "Dead sockets, clients too slow for what was said to them, connections refused before a request.",
                "cps",
                Query(rate("rolehost_gateway_dead_sockets_total", GATEWAY), "dead"),
                Query(rate("rolehost_gateway_slow_clients_total", GATEWAY), "slow"),
                Query(rate("rolehost_gateway_refused_connections_total", GATEWAY), "refused"),
                width=12,
            ),
            lines(
                "Who answers sessions",
                "`takeover` while no gateway died: gateways do not see each other.",
                "cps",
                Query(rate("rolehost_sessions_taken_total", GATEWAY, "how"), "{{how}}"),
                Query(rate("rolehost_sessions_lost_total", GATEWAY), "lost"),
                width=12,
            ),
        ),
    )


def _models() -> Section:
    return Section(
        "Model backends",
        (
            lines(
                "Calls tried",
                "By backend and outcome; cancelled ones are users'.",
                "reqps",
                Query(
                    top(MOST, rate("rolehost_model_attempts_total", GATEWAY, "backend, outcome")),
                    "{{backend}}: {{outcome}}",
                ),
            ),
            lines(
                "Calls that run and wait",
                "By backend. Waiting without end: the backend's concurrency is too low, or it hangs.",
                "short",
                Query(top(6, f"sum by (backend) (rolehost_model_calls_running{{{GATEWAY}}})"), "{{backend}} run"),
                Query(top(6, f"sum by (backend) (rolehost_model_calls_waiting{{{GATEWAY}}})"), "{{backend}} wait"),
            ),
            lines(
                "Circuits",
                "0 closed, 1 half-open, 2 open: that backend is left alone, and calls go to the next of the chain.",
                "short",
                Query(top(8, f"max by (backend) (rolehost_model_circuit{{{GATEWAY}}})"), "{{backend}}"),
                limits=((1, YELLOW), (2, RED)),
            ),
            lines(
                "Retries and fallbacks",
                "The same backend again, or the next one instead.",
                "cps",
                Query(top(6, rate("rolehost_model_retries_total", GATEWAY, "backend")), "{{backend}} again"),
                Query(top(6, rate("rolehost_model_fallbacks_total", GATEWAY, "backend, to")), "{{backend}} → {{to}}"),
                width=12,
            ),
            lines(
                "One model call", "Over all Roles.", "s", *percentiles("rolehost_model_call_seconds", GATEWAY), width=12
            ),
        ),
    )


def _processes() -> Section:
    """Of gateways and operators: whoever exports a series of theirs."""
    lag, pause = "rolehost_event_loop_lag_seconds", "rolehost_gc_pause_seconds"
    return Section(
        "Processes (use, saturation, errors)",
        (
            lines(
                "CPU",
                "Cores. A gateway is one process on one core: at 1 it is full, and more gateways are what helps.",
                "short",
                Query(top(MOST, _ours(f"sum by (instance, job) (rate(process_cpu_seconds_total[{SPAN}]))")), OF),
                limits=((0.8, YELLOW), (1, RED)),
            ),
            lines(
                "Resident memory",
                "Against the limit in values.yaml. A steady climb over days with steady sockets is a leak.",
                "bytes",
                Query(top(MOST, _ours("max by (instance, job) (process_resident_memory_bytes)")), OF),
            ),
            lines(
                "File descriptors",
                "What part of those it may have. Each socket is one.",
                "percentunit",
                Query(
                    top(
                        MOST,
                        _ours(
                            "max by (instance, job) (process_open_fds)"
                            " / on (instance, job) max by (instance, job) (process_max_fds)"
                        ),
                    ),
                    OF,
                ),
                limits=((0.7, YELLOW), (0.9, RED)),
            ),
            lines(
                "Lag of the event loop",
                "How much later than asked for a process got to a moment of its own. From 50 ms on users feel it: something "
                "computes where it should wait.",
                "s",
                *percentiles(lag, exemplars=False),
                limits=((0.05, YELLOW), (0.25, RED)),
            ),
            lines(
                "Pauses of garbage collection",
                "While one lasts, nobody is answered. By generation, p99.",
                "s",
                Query(quantile(0.99, pause, by="generation"), "generation {{generation}}"),
                limits=((0.05, YELLOW), (0.25, RED)),
            ),
            lines(
                "Time in garbage collection",
                "What part of the time goes into it, by generation. Much of the oldest one: a heap that grows with each turn.",
                "percentunit",
                Query(rate(f"{pause}_sum", by="generation"), "generation {{generation}}"),
            ),
            lines(
                "Sockets and streams",
                "Open ones, by gateway: WebSockets, event streams and gRPC calls together.",
                "short",
                Query(
                    top(
                        MOST,
                        f"sum by (instance) (rolehost_gateway_sockets{{{GATEWAY}}} + rolehost_gateway_streams{{{GATEWAY}}}"
                        f" + rolehost_gateway_grpc_open_calls{{{GATEWAY}}})",
                    ),
                    "{{instance}}",
                ),
                stacked=True,
            ),
            lines(
                "Other gateways given up",
                "Their link ended, their lease did, or they were silent.",
                "cps",
                Query(rate("rolehost_gateway_peers_given_up_total", GATEWAY, "why"), "{{why}}"),
            ),
            lines(
                "Spans",
                "Sent to the Collector, and dropped: it is away or too slow, and those traces are not whole. Turns do not wait for it.",
                "cps",
                Query(rate("rolehost_spans_dropped_total", GATEWAY, "why"), "dropped: {{why}}"),
                Query(rate("rolehost_spans_sent_total", GATEWAY), "sent"),
            ),
        ),
    )


def _ours(query: str) -> str:
    return f"({query}) and on (instance, job) (rolehost_gateway_sockets or rolehost_operator_leader)"


def _redis() -> Section:
    return Section(
        "Redis and what is kept",
        (
            lines(
                "Memory of Redis, used",
                "Against what it may use. At the bound every write fails: turns are not acknowledged.",
                "bytes",
                Query("max(rolehost_store_used_bytes)", "used"),
                Query("max(rolehost_store_max_bytes)", "bound"),
            ),
            lines(
                "Troubles with Redis",
                "What it refused by its word, calls that lost their connection, calls that were overdue.",
                "cps",
                Query(top(8, rate("rolehost_gateway_store_troubles_total", GATEWAY, "what")), "{{what}}"),
            ),
            lines(
                "One commit, by gateways",
                "From 100 ms on at p50: Redis, its disk or its replicas.",
                "s",
                *percentiles("rolehost_turn_commit_seconds", GATEWAY, exemplars=False),
            ),
            lines(
                "Snapshots and the archive",
                "Snapshots by outcome, and segments that took old records out of Redis.",
                "cps",
                Query(top(6, rate("rolehost_snapshots_total", GATEWAY, "outcome")), "snapshot {{outcome}}"),
                Query(rate("rolehost_archive_segments_total", GATEWAY), "segments"),
                Query(top(4, rate("rolehost_archive_failures_total", GATEWAY, "code")), "not archived: {{code}}"),
            ),
            lines(
                "Set aside, missing, not swept",
                "Records that could not be used, sessions that Redis lost before their time, rests that stayed. All nought, "
                "always.",
                "cps",
                Query(top(4, rate("rolehost_set_aside_total", GATEWAY, "why")), "set aside: {{why}}"),
                Query(rate("rolehost_retention_missing_sessions_total", GATEWAY), "missing"),
                Query(top(4, rate("rolehost_retention_failures_total", GATEWAY, "code")), "not swept: {{code}}"),
            ),
            lines(
                "How far memories are behind",
                "From the commit of what a turn remembers to its being at home in the MemoryStore. Growing: that store is "
                "away; nothing is lost, and what was remembered is found all the same. No line: they are at home in Redis.",
                "s",
                *percentiles("rolehost_memory_apply_lag_seconds", GATEWAY, exemplars=False),
                limits=((60, YELLOW), (600, RED)),
            ),
            lines(
                "What is done with memory",
                "Recalls, moves and the rest, by `ok` or code.",
                "cps",
                Query(top(8, rate("rolehost_gateway_memory_total", GATEWAY, "what, outcome")), "{{what}}: {{outcome}}"),
                width=12,
            ),
            lines(
                "Timers",
                "Sessions whose timers were looked at, by what came of it.",
                "cps",
                Query(top(8, rate("rolehost_timers_total", GATEWAY, "outcome")), "{{outcome}}"),
                width=12,
            ),
        ),
    )


def _cluster() -> Section:
    reconciled = "rolehost_operator_reconcile_seconds"
    return Section(
        "The cluster, seen from here",
        (
            lines(
                "Age of watches",
                "Since a watch brought anything. Over 140 s a gateway is blind, over 320 s the operator: it acts on old news.",
                "s",
                Query(
                    top(6, f"max by (kind) (rolehost_gateway_watch_last_event_age_seconds{{{GATEWAY}}})"),
                    "gateway: {{kind}}",
                ),
                Query(top(6, "max by (kind) (rolehost_operator_watch_last_event_age_seconds)"), "operator: {{kind}}"),
                limits=((140, YELLOW), (320, RED)),
            ),
            lines(
                "Gateways on old tables",
                "They started without the apiserver and serve from the last good rows.",
                "short",
                Query("sum(rolehost_tables_stale)", "gateways"),
                limits=((1, YELLOW),),
            ),
            lines(
                "Roles that wait",
                "The operator's queue. Growing with few writes: it is slow; with many: the apiserver is.",
                "short",
                Query("max(rolehost_operator_queue_depth)", "queue"),
                Query("max(rolehost_operator_upgrade_waiting)", "wait for an upgrade"),
            ),
            lines("Looking after one Role", "Once, by the operator.", "s", *percentiles(reconciled, exemplars=False)),
            lines(
                "Roles looked after",
                "By outcome.",
                "cps",
                Query(top(6, rate("rolehost_operator_reconciles_total", "", "outcome")), "{{outcome}}"),
            ),
            lines(
                "Writes to the apiserver",
                "Tried, by kind. Without an edit or a rollout there are none.",
                "cps",
                Query(top(8, rate("rolehost_operator_writes_total", "", "kind")), "{{kind}}"),
            ),
            number(
                "Roles", "That the operator has seen.", "short", Query("max(rolehost_operator_roles)", "roles"), width=6
            ),
            number(
                "Gateways reporting",
                "Whose word the operator holds for fresh.",
                "short",
                Query("max(rolehost_operator_gateways_reporting)", "gateways"),
                limits=((float("-inf"), RED), (1, "green")),
                width=6,
            ),
            number(
                "Namespaces without rights",
                "Labelled as tenants', and the operator was refused there: rolehost tenants add.",
                "short",
                Query("max(rolehost_operator_namespaces_without_rights)", "namespaces"),
                limits=((1, YELLOW),),
                width=6,
            ),
            number(
                "Upgrade halted",
                "1 while new sandbox pods do not come up and no more begin.",
                "short",
                Query("max(rolehost_operator_upgrade_halted)", "halted"),
                limits=((1, RED),),
                width=6,
            ),
        ),
    )
