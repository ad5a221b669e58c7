"""What the code declares is found where it declares it: compared with what registries say when they are made."""

from prometheus_client import CollectorRegistry
from tests.support.declared import declared

from rolehost_operator.telemetry import Metrics as OperatorMetrics
from rolehost_runtime.gateway.broker.models.metrics import PrometheusModelSink
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.sessions.metrics import PrometheusSink


def described(registry: CollectorRegistry) -> set[str]:
    suffix = {"counter": "_total", "histogram": "_bucket", "summary": "_sum", "gauge": ""}
    return {family.name + suffix[family.type] for family in registry.collect()}


def test_every_series_of_a_registry_was_read_from_the_code() -> None:
    gateway, operator = Metrics(), OperatorMetrics()
    PrometheusSink(gateway.registry)
    PrometheusModelSink(gateway.registry)
    there = described(gateway.registry) | described(operator.registry)
    assert len(there) > 60
    assert there - declared().keys() == set()


def test_labels_are_those_of_the_declaration() -> None:
    known = declared()
    assert known["rolehost_turns_total"].labels == {"tenant", "role", "outcome"}
    assert known["rolehost_turn_seconds_bucket"].labels >= {"tenant", "role", "le"}
    assert known["rolehost_turns_total"].kind == "counter"


def test_names_that_a_loop_makes_are_found() -> None:
    known = declared()
    assert {f"rolehost_operator_watch_{name}_total" for name in ("lists", "opened", "failures")} <= known.keys()
    assert "rolehost_rollout_stage" in known
