"""What Prometheus is told. No label takes a value that a client or tenant can choose freely.

The hot counters are plain ints that a collector reads when somebody scrapes.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rolehost_api.errors import LogicError, RolehostError
from rolehost_api.vitals import Vitals
from rolehost_runtime.gateway.ports import StoreFacts

APPLIED = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
ROUND_TRIPS = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.vitals = Vitals(self.registry)
        self.frames_in = 0
        self.frames_out = 0
        self.sockets = Gauge("rolehost_gateway_sockets", "Open WebSockets.", registry=self.registry)
        self.streams = Gauge("rolehost_gateway_streams", "Open event streams over HTTP.", registry=self.registry)
        self.calls = Gauge("rolehost_gateway_grpc_open_calls", "Open gRPC calls.", registry=self.registry)
        self.called = Counter(
            "rolehost_gateway_grpc_calls",
            "gRPC calls that ended, by status.",
            ["rpc", "status"],
            registry=self.registry,
        )
        self.dead = Counter(
            "rolehost_gateway_dead_sockets",
            "WebSockets given up because three heartbeats brought no sign of life.",
            registry=self.registry,
        )
        self.round_trips = Histogram(
            "rolehost_gateway_round_trip_seconds",
            "Between a WebSocket's ping and its pong.",
            buckets=ROUND_TRIPS,
            registry=self.registry,
        )
        self.slow_clients = Counter(
            "rolehost_gateway_slow_clients",
            "Clients that fell so far behind that one snapshot stood for what they missed.",
            registry=self.registry,
        )
        self.watchers = Counter(
            "rolehost_gateway_watchers_missed",
            "Watchers that took nothing for three heartbeats (stalled), or whose client vanished (lost).",
            ["how"],
            registry=self.registry,
        )
        self.handshakes = Counter(
            "rolehost_gateway_handshakes", "WebSocket handshakes by outcome.", ["code"], registry=self.registry
        )
        self.errors = Counter(
            "rolehost_gateway_errors", "Errors told to clients, by stable code.", ["code"], registry=self.registry
        )
        self.requests = Counter(
            "rolehost_gateway_requests",
            "REST requests by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
        self.refused = Counter(
            "rolehost_gateway_refused_connections",
            "Connections refused before a request.",
            ["why"],
            registry=self.registry,
        )
        self.not_attested = Counter(
            "rolehost_gateway_pods_not_attested",
            "Listeners at a pod's address that did not prove to be that pod; nothing was sent to them.",
            registry=self.registry,
        )
        self.kept = Counter(
            "rolehost_gateway_kept_sessions",
            "Forks, exports and deletions that were asked for, by what and by `ok` or stable code.",
            ["what", "outcome"],
            registry=self.registry,
        )
        self.memory = Counter(
            "rolehost_gateway_memory",
            "What was done with memory (recall, remind, learn, tidy), by `ok` or stable code.",
            ["what", "outcome"],
            registry=self.registry,
        )
        self.memory_lag = Histogram(
            "rolehost_memory_apply_lag_seconds",
            "From the commit of what a turn remembers to its being where memories are at home, if that is not beside the log.",
            buckets=APPLIED,
            registry=self.registry,
        )
        self.watch_events = Counter(
            "rolehost_gateway_watch_events", "Events of watches.", ["kind"], registry=self.registry
        )
        self.watch_lists = Counter(
            "rolehost_gateway_watch_lists", "Whole listings taken.", ["kind"], registry=self.registry
        )
        self.watch_failures = Counter(
            "rolehost_gateway_watch_failures",
            "Watches that broke, and are tried again.",
            ["kind"],
            registry=self.registry,
        )
        self.watch_skipped = Counter(
            "rolehost_gateway_watch_skipped", "Objects that could not be read.", ["kind"], registry=self.registry
        )
        self.watch_silent = Counter(
            "rolehost_gateway_watch_silent",
            "Watches opened anew because not even a bookmark came.",
            ["kind"],
            registry=self.registry,
        )
        self.watch_ages: dict[str, Callable[[], float]] = {}
        self.store_troubles = Counter(
            "rolehost_gateway_store_troubles",
            "What Redis refused by its word, calls that lost their connection, and calls that were overdue.",
            ["what"],
            registry=self.registry,
        )
        self.snapshots = Counter(
            "rolehost_snapshots",
            "Snapshots of sessions, by outcome; without one, more of the log is read.",
            ["outcome"],
            registry=self.registry,
        )
        self.set_aside = Counter(
            "rolehost_set_aside",
            "Records and snapshots in Redis that could not be used, by why; a copy is kept in the session's quarantine.",
            ["why"],
            registry=self.registry,
        )
        self.store_denied = Gauge(
            "rolehost_store_denied",
            "Since Redis started: refusals of whoever had no right or no password there. Anybody's, not only ours.",
            registry=self.registry,
        )
        self.store_used = Gauge("rolehost_store_used_bytes", "Memory that Redis uses.", registry=self.registry)
        self.store_max = Gauge(
            "rolehost_store_max_bytes", "Memory that Redis may use; 0: no bound.", registry=self.registry
        )
        self.tables_stale = Gauge(
            "rolehost_tables_stale",
            "1 while this gateway serves from the last good tables, for it started without the apiserver.",
            registry=self.registry,
        )
        self.held_back = Gauge(
            "rolehost_rollouts_held_back",
            "Roles whose candidate gets no new sessions from this gateway: too many bad ones came in a row.",
            registry=self.registry,
        )
        self.warm_ups = Counter(
            "rolehost_rollout_warmups",
            "Turns that nobody asked for, by which a new revision was warmed: completed, late, or a stable code.",
            ["outcome"],
            registry=self.registry,
        )
        self.tables_kept = Counter(
            "rolehost_tables_kept",
            "Times that the last good rows of a kind were to be kept, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.registry.register(_Frames(self))
        self.registry.register(_Ages(self))

    def store(self, facts: StoreFacts) -> None:
        self.store_denied.set(facts.denied)
        self.store_used.set(facts.used_bytes)
        self.store_max.set(facts.max_bytes)

    def told(self, error: RolehostError) -> None:
        """A client was told of an error. A code that role logic chose would be a free label."""
        self.errors.labels(LogicError.code if isinstance(error, LogicError) else error.code).inc()


class _Frames(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        frames = CounterMetricFamily(
            "rolehost_gateway_frames",
            "WebSocket frames that carry text or msgpack, and gRPC messages.",
            labels=["direction"],
        )
        frames.add_metric(["in"], self._metrics.frames_in)
        frames.add_metric(["out"], self._metrics.frames_out)
        yield frames


class _Ages(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        ages = GaugeMetricFamily(
            "rolehost_gateway_watch_last_event_age_seconds",
            "Since a watch last brought an event, a bookmark or a listing; over 140 the gateway is blind.",
            labels=["kind"],
        )
        for kind, age in self._metrics.watch_ages.items():
            ages.add_metric([kind], age())
        yield ages
