"""Calls of model servers, counted. Labels are names of ModelBackends, namespaces of tenants, and codes of ours."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rolehost_api.wire import Usage
from rolehost_runtime.gateway.broker.models.desk import Desk

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class ModelSink(Protocol):
    def attempt(self, backend: str, outcome: str) -> None: ...
    def retried(self, backend: str) -> None: ...
    def fell_back(self, backend: str, to: str) -> None: ...
    def spent(self, tenant: str, backend: str, usage: Usage, micros: int) -> None: ...
    def over_budget(self, tenant: str, backend: str) -> None: ...
    def batch(self, backend: str, texts: int) -> None: ...
    def follow(self, desks: Callable[[], Mapping[str, Desk]], now: Callable[[], float]) -> None:
        """Whom to ask for what is so at the moment."""


class PrometheusModelSink:
    """Implements ModelSink over one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._attempts = Counter(
            "rolehost_model_attempts",
            "Calls that were tried, by `ok`, `cancelled` or the stable code that they failed with.",
            ["backend", "outcome"],
            registry=registry,
        )
        self._retries = Counter(
            "rolehost_model_retries", "Calls tried again on the same backend.", ["backend"], registry=registry
        )
        self._fallbacks = Counter(
            "rolehost_model_fallbacks",
            "Calls that another backend was asked for, by the one that could not.",
            ["backend", "to"],
            registry=registry,
        )
        self._tokens = Counter(
            "rolehost_model_tokens",
            "Tokens, counted by the server or estimated; cached ones are among those of input.",
            ["tenant", "backend", "kind"],
            registry=registry,
        )
        self._cost = Counter(
            "rolehost_model_cost_micros",
            "Cost by the declared prices, in millionths of a unit.",
            ["tenant", "backend"],
            registry=registry,
        )
        self._over = Counter(
            "rolehost_model_over_budget",
            "Calls that were not begun, for the tenant's budget was spent.",
            ["tenant", "backend"],
            registry=registry,
        )
        self._batches = Histogram(
            "rolehost_embedding_batch_texts",
            "Texts in one request for embeddings.",
            ["backend"],
            buckets=BATCHES,
            registry=registry,
        )

    def attempt(self, backend: str, outcome: str) -> None:
        self._attempts.labels(backend, outcome).inc()

    def retried(self, backend: str) -> None:
        self._retries.labels(backend).inc()

    def fell_back(self, backend: str, to: str) -> None:
        self._fallbacks.labels(backend, to).inc()

    def spent(self, tenant: str, backend: str, usage: Usage, micros: int) -> None:
        self._tokens.labels(tenant, backend, "input").inc(usage.input_tokens)
        self._tokens.labels(tenant, backend, "cached").inc(usage.cached_tokens)
        self._tokens.labels(tenant, backend, "output").inc(usage.output_tokens)
        if micros:
            self._cost.labels(tenant, backend).inc(micros)

    def over_budget(self, tenant: str, backend: str) -> None:
        self._over.labels(tenant, backend).inc()

    def batch(self, backend: str, texts: int) -> None:
        self._batches.labels(backend).observe(texts)

    def follow(self, desks: Callable[[], Mapping[str, Desk]], now: Callable[[], float]) -> None:
        self._registry.register(_Desks(desks, now))


class NoModelSink:
    """Counts nothing."""

    def attempt(self, backend: str, outcome: str) -> None:
        """Nothing."""

    def retried(self, backend: str) -> None:
        """Nothing."""

    def fell_back(self, backend: str, to: str) -> None:
        """Nothing."""

    def spent(self, tenant: str, backend: str, usage: Usage, micros: int) -> None:
        """Nothing."""

    def over_budget(self, tenant: str, backend: str) -> None:
        """Nothing."""

    def batch(self, backend: str, texts: int) -> None:
        """Nothing."""

    def follow(self, desks: Callable[[], Mapping[str, Desk]], now: Callable[[], float]) -> None:
        """Nothing."""


class _Desks(Collector):
    def __init__(self, desks: Callable[[], Mapping[str, Desk]], now: Callable[[], float]) -> None:
        self._desks, self._now = desks, now

    def collect(self) -> Iterable[Metric]:
        circuit = GaugeMetricFamily(
            "rolehost_model_circuit", "0: closed, 1: half-open, 2: open, the backend is left alone.", labels=["backend"]
        )
        inside = GaugeMetricFamily("rolehost_model_calls_running", "Calls that run.", labels=["backend"])
        waiting = GaugeMetricFamily("rolehost_model_calls_waiting", "Calls that wait.", labels=["backend"])
        for name, desk in self._desks().items():
            circuit.add_metric([name], desk.breaker.circuit(self._now()).value)
            inside.add_metric([name], desk.turnstile.inside)
            waiting.add_metric([name], desk.turnstile.waiting)
        yield from (circuit, inside, waiting)
