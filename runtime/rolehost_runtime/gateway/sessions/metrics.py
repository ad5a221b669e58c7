"""Turns, counted. Labels are a tenant's name, its Role's name and a code of ours, nothing else."""

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rolehost_api.errors import LogicError, RolehostError
from rolehost_api.wire import Metrics

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class TurnSink(Protocol):
    """Where the outcome of every turn and of every model call goes."""

    def turn(self, tenant: str, role: str, outcome: str, metrics: Metrics) -> None: ...
    def model_call(self, tenant: str, role: str, outcome: str, seconds: float) -> None: ...
    def overridden(self, tenant: str, role: str, values: int) -> None: ...


def outcome_of(error: BaseException | None) -> str:
    """The label for how it ended; a turn that the user cancelled is counted apart, as `cancelled`. A code that role
    logic chose is not among them: it would be a free label."""
    if error is None:
        return "completed"
    if isinstance(error, LogicError):
        return LogicError.code
    return error.code if isinstance(error, RolehostError) else RolehostError.code


class NoSink:
    """Counts nothing."""

    def turn(self, tenant: str, role: str, outcome: str, metrics: Metrics) -> None:
        """Nothing."""

    def model_call(self, tenant: str, role: str, outcome: str, seconds: float) -> None:
        """Nothing."""

    def overridden(self, tenant: str, role: str, values: int) -> None:
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


class PrometheusSink:
    """Counters and histograms of one registry. Four label look-ups a turn, none a frame."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ["tenant", "role"]
        self._turns = Counter("rolehost_turns", "Turns by outcome.", [*names, "outcome"], registry=registry)
        self._first = Histogram(
            "rolehost_turn_first_token_seconds", "Accepted to first text.", names, buckets=SECONDS, registry=registry
        )
        self._total = Histogram(
            "rolehost_turn_seconds", "Accepted to durable.", names, buckets=SECONDS, registry=registry
        )
        self._commit = Histogram(
            "rolehost_turn_commit_seconds", "One commit.", names, buckets=SECONDS, registry=registry
        )
        self._calls = Counter("rolehost_model_calls", "Model calls by outcome.", [*names, "outcome"], registry=registry)
        self._overridden = Counter(
            "rolehost_user_state_overridden",
            "Values of user-scope state that a turn overrode without having seen them; each is kept as a compensation.",
            names,
            registry=registry,
        )
        self._model = Histogram(
            "rolehost_model_call_seconds", "One model call.", names, buckets=SECONDS, registry=registry
        )

    def turn(self, tenant: str, role: str, outcome: str, metrics: Metrics) -> None:
        self._turns.labels(tenant, role, outcome).inc()
        self._total.labels(tenant, role).observe(metrics.total_ms / 1000)
        if metrics.ttft_ms is not None:
            self._first.labels(tenant, role).observe(metrics.ttft_ms / 1000)
        if metrics.commit_ms:
            self._commit.labels(tenant, role).observe(metrics.commit_ms / 1000)

    def model_call(self, tenant: str, role: str, outcome: str, seconds: float) -> None:
        self._calls.labels(tenant, role, outcome).inc()
        self._model.labels(tenant, role).observe(seconds)

    def overridden(self, tenant: str, role: str, values: int) -> None:
        self._overridden.labels(tenant, role).inc(values)
