"""Turns, counted. Labels are a tenant's name, its Role's name and a code of ours, nothing else."""

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from rolehost_api.errors import LogicError, RolehostError
from rolehost_api.link.tools import MAX_TOOLS
from rolehost_api.wire import Metrics, Usage
from rolehost_runtime.core.safety.guards import Decision
from rolehost_runtime.core.tooling import OTHER

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class TurnSink(Protocol):
    """Where the outcome of every turn and of every model call goes."""

    def turn(self, tenant: str, role: str, outcome: str, metrics: Metrics) -> None: ...
    def model_call(self, tenant: str, role: str, outcome: str, seconds: float) -> None: ...
    def overridden(self, tenant: str, role: str, values: int) -> None: ...
    def transitions(self, tenant: str, role: str, count: int) -> None: ...
    def tool_calls(self, tenant: str, role: str, tool: str, outcome: str, count: int) -> None: ...
    def prompted(self, tenant: str, role: str, usage: Usage) -> None: ...
    def lore(self, tenant: str, role: str, told: int, left_out: int) -> None: ...
    def guard_decision(self, tenant: str, role: str, decision: Decision) -> None: ...
    def guard_failed(self, tenant: str, role: str, policy: str, code: str) -> None: ...


def outcome_of(error: BaseException | None) -> str:
    """The label for how it ended; a turn that the user cancelled is counted apart, as `cancelled`. A code that role
    logic chose is not among them: it would be a free label."""
    if error is None:
        return "completed"
    if isinstance(error, LogicError):
        return LogicError.code
    return error.code if isinstance(error, RolehostError) else RolehostError.code


def stages(metrics: Metrics) -> tuple[tuple[str, float], ...]:
    """A receipt's parts in milliseconds, such that they add up to the whole: `first_token` is what no other clock was
    held to until the first text, `model` what models took beyond that, `rest` what is left, tools among it. Hooks that
    ran after the first text are in `hooks` all the same.

    >>> stages(Metrics(
    ...     queue_ms=1, route_ms=2, hooks_ms=6, recall_ms=4, ttft_ms=60, model_ms=70, commit_ms=3, total_ms=100))
    (('queue', 1), ('route', 2), ('hooks', 6), ('recall', 4), ('first_token', 47), ('model', 23), ('rest', 14), ('commit', 3))
    """
    known = metrics.queue_ms + metrics.route_ms + metrics.hooks_ms + metrics.recall_ms
    first = max(metrics.ttft_ms - known, 0) if metrics.ttft_ms is not None else 0
    model = max(metrics.model_ms - first, 0)
    return (
        ("queue", metrics.queue_ms),
        ("route", metrics.route_ms),
        ("hooks", metrics.hooks_ms),
        ("recall", metrics.recall_ms),
        ("first_token", first),
        ("model", model),
        ("rest", max(metrics.total_ms - known - first - model - metrics.commit_ms, 0)),
        ("commit", metrics.commit_ms),
    )


class NoSink:
    """Counts nothing."""

    def turn(self, tenant: str, role: str, outcome: str, metrics: Metrics) -> None:
        """Nothing."""

    def model_call(self, tenant: str, role: str, outcome: str, seconds: float) -> None:
        """Nothing."""

    def overridden(self, tenant: str, role: str, values: int) -> None:
        """Nothing."""

    def transitions(self, tenant: str, role: str, count: int) -> None:
        """Nothing."""

    def tool_calls(self, tenant: str, role: str, tool: str, outcome: str, count: int) -> None:
        """Nothing."""

    def prompted(self, tenant: str, role: str, usage: Usage) -> None:
        """Nothing."""

    def lore(self, tenant: str, role: str, told: int, left_out: int) -> None:
        """Nothing."""

    def guard_decision(self, tenant: str, role: str, decision: Decision) -> None:
        """Nothing."""

    def guard_failed(self, tenant: str, role: str, policy: str, code: str) -> None:
        """Nothing."""


class PrometheusArchiveSink:
    """What left sessions' logs, by one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._segments = Counter("rolehost_archive_segments", "Segments written and read back.", registry=registry)
        self._bytes = Counter("rolehost_archive_bytes", "Bytes of those segments.", registry=registry)
        self._records = Counter(
            "rolehost_archive_records", "Records that left their log, by where to.", ["to"], registry=registry
        )
        self._failures = Counter(
            "rolehost_archive_failures",
            "Sessions whose old records stay in Redis for now, by why.",
            ["code"],
            registry=registry,
        )

    def archived(self, records: int, size: int) -> None:
        self._records.labels("segment" if size else "nowhere").inc(records)
        if size:
            self._segments.inc()
            self._bytes.inc(size)

    def not_archived(self, code: str) -> None:
        self._failures.labels(code).inc()


class PrometheusRetentionSink:
    """What was left of sessions that lasted their time, by one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sessions = Counter(
            "rolehost_retention_sessions",
            "Sessions that lasted their time and whose last rest was swept.",
            registry=registry,
        )
        self._segments = Counter(
            "rolehost_retention_segments", "Segments of those sessions that were deleted.", registry=registry
        )
        self._failures = Counter(
            "rolehost_retention_failures",
            "Times that something of an old session could not be swept, by why; it is tried again in an hour.",
            ["code"],
            registry=registry,
        )

        self._missing = Counter(
            "rolehost_retention_missing_sessions",
            "Looks, about one an hour, at a session that is on its Role's list and that Redis lost before its time.",
            registry=registry,
        )

    def missing(self, sessions: int) -> None:
        self._missing.inc(sessions)

    def swept(self, segments: int) -> None:
        self._sessions.inc()
        self._segments.inc(segments)

    def not_swept(self, code: str) -> None:
        self._failures.labels(code).inc()


class PrometheusAdmissionSink:
    """Sessions that were not begun, by one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "rolehost_new_sessions_refused",
            "New sessions that were refused, by why; those that are there go on.",
            ["tenant", "code"],
            registry=registry,
        )
        self._over = Gauge(
            "rolehost_tenants_over_share",
            "Tenants that take no new sessions, for the store is over 80 % full and they take more than their share.",
            registry=registry,
        )

    def refused(self, tenant: str, code: str) -> None:
        self._refused.labels(tenant, code).inc()

    def over(self, tenants: int) -> None:
        self._over.set(tenants)


class PrometheusTimerSink:
    """Implements timekeeping.TimerSink."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._looked = Counter(
            "rolehost_timers",
            "Sessions whose timers were looked at, by what came of it: fired, later, failed, let_pass, gone, or an error.",
            ["outcome"],
            registry=registry,
        )

    def looked(self, outcome: str) -> None:
        self._looked.labels(outcome).inc()


class PrometheusSink:
    """Counters and histograms of one registry. Two label look-ups a turn, none a frame; how long turns take is counted
    where they are held against their objectives (`judging`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ["tenant", "role"]
        self._turns = Counter("rolehost_turns", "Turns by outcome.", [*names, "outcome"], registry=registry)
        self._commit = Histogram(
            "rolehost_turn_commit_seconds", "One commit.", names, buckets=SECONDS, registry=registry
        )
        self._stages = Summary(
            "rolehost_turn_stage_seconds",
            "Where turns spent their time, by the parts of their receipts; the parts of one turn add up to its whole.",
            [*names, "stage"],
            registry=registry,
        )
        self._by_stage: dict[tuple[str, str], tuple[Summary, ...]] = {}
        """Looked up once a Role: every turn has all of them."""
        self._calls = Counter("rolehost_model_calls", "Model calls by outcome.", [*names, "outcome"], registry=registry)
        self._overridden = Counter(
            "rolehost_user_state_overridden",
            "Values of user-scope state that a turn overrode without having seen them; each is kept as a compensation.",
            names,
            registry=registry,
        )
        self._transitions = Counter(
            "rolehost_behavior_transitions",
            "Steps from node to node of Roles' behaviour graphs.",
            names,
            registry=registry,
        )
        self._tools: dict[tuple[str, str], set[str]] = {}
        self._tool_calls = Counter(
            "rolehost_tool_calls",
            "Tools that models called, by outcome: ok, or why it came to nothing. `other` is a tool that nobody declares.",
            [*names, "tool", "outcome"],
            registry=registry,
        )
        self._prompts = Counter(
            "rolehost_prompt_tokens",
            "Tokens of prompts as model servers counted them, by whether the server had them from an earlier prompt.",
            [*names, "cached"],
            registry=registry,
        )
        self._lore = Counter(
            "rolehost_lore_entries",
            "Entries of Roles' lorebooks that a turn found: told to the model, or left out over the budget.",
            [*names, "outcome"],
            registry=registry,
        )
        self._decisions = Counter(
            "rolehost_guard_decisions",
            "What Roles' guards decided of turns that are durable; each decision once a turn.",
            [*names, "stage", "action", "category"],
            registry=registry,
        )
        self._guard_failures = Counter(
            "rolehost_guard_failures",
            "Texts that a guard could not judge, by what counted then (open, closed) and why.",
            [*names, "policy", "code"],
            registry=registry,
        )
        self._model = Histogram(
            "rolehost_model_call_seconds", "One model call.", names, buckets=SECONDS, registry=registry
        )

    def turn(self, tenant: str, role: str, outcome: str, metrics: Metrics) -> None:
        self._turns.labels(tenant, role, outcome).inc()
        self._parts(tenant, role, metrics)
        if metrics.commit_ms:
            self._commit.labels(tenant, role).observe(metrics.commit_ms / 1000)

    def _parts(self, tenant: str, role: str, metrics: Metrics) -> None:
        parts = stages(metrics)
        known = self._by_stage.get((tenant, role))
        if known is None:
            known = tuple(self._stages.labels(tenant, role, stage) for stage, _ in parts)
            self._by_stage[tenant, role] = known
        for counted, (_, milliseconds) in zip(known, parts, strict=True):
            counted.observe(milliseconds / 1000)

    def model_call(self, tenant: str, role: str, outcome: str, seconds: float) -> None:
        self._calls.labels(tenant, role, outcome).inc()
        self._model.labels(tenant, role).observe(seconds)

    def overridden(self, tenant: str, role: str, values: int) -> None:
        self._overridden.labels(tenant, role).inc(values)

    def prompted(self, tenant: str, role: str, usage: Usage) -> None:
        """What a server counted of one call; an estimate knows nothing of what was reused."""
        if not usage.estimated:
            cached = min(usage.cached_tokens, usage.input_tokens)
            self._prompts.labels(tenant, role, "yes").inc(cached)
            self._prompts.labels(tenant, role, "no").inc(usage.input_tokens - cached)

    def transitions(self, tenant: str, role: str, count: int) -> None:
        self._transitions.labels(tenant, role).inc(count)

    def tool_calls(self, tenant: str, role: str, tool: str, outcome: str, count: int) -> None:
        """A pod says what its tools are called: of one Role so many names are labels, and the rest is `other`."""
        known = self._tools.setdefault((tenant, role), set())
        if tool not in known:
            if len(known) >= MAX_TOOLS:
                tool = OTHER
            else:
                known.add(tool)
        self._tool_calls.labels(tenant, role, tool, outcome).inc(count)

    def lore(self, tenant: str, role: str, told: int, left_out: int) -> None:
        self._lore.labels(tenant, role, "told").inc(told)
        self._lore.labels(tenant, role, "over_budget").inc(left_out)

    def guard_decision(self, tenant: str, role: str, decision: Decision) -> None:
        """The guard's name is a tenant's own word, and is in the record only."""
        self._decisions.labels(tenant, role, decision.stage, decision.action, decision.category).inc()

    def guard_failed(self, tenant: str, role: str, policy: str, code: str) -> None:
        self._guard_failures.labels(tenant, role, policy, code).inc()

    def forget(self, tenant: str, role: str) -> None:
        """Nobody talks to that Role any more, or it is gone: none of its series stays."""
        self._tools.pop((tenant, role), None)
        self._by_stage.pop((tenant, role), None)
        for one in vars(self).values():
            if isinstance(one, Counter | Histogram | Summary):
                one.remove_by_labels({"tenant": tenant, "role": role})
