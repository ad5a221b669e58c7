"""values.yaml and its schema speak of the same settings, and every setting is explained."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rolehost_runtime.gateway.broker.state.resp.address import parse

CHART = Path(__file__).parents[3] / "charts" / "rolehost"
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    found: dict[str, Any] = SCHEMA["$defs"][reference.rsplit("/", 1)[1]] if reference else schema
    return found


def paths_of_schema(schema: dict[str, Any], at: str = "") -> set[str]:
    properties = resolved(schema).get("properties", {})
    below = [paths_of_schema(child, f"{at}.{name}") for name, child in properties.items()]
    return {at}.union(*below)


def paths_of_values(schema: dict[str, Any], value: object, at: str = "") -> set[str]:
    """Paths of the values down to where the schema leaves the names free, e.g. resources and labels."""
    properties = resolved(schema).get("properties", {})
    if not isinstance(value, dict) or not properties:
        return {at}
    below = [paths_of_values(properties[name], child, f"{at}.{name}") for name, child in value.items()]
    return {at}.union(*below)


def test_the_defaults_are_valid() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


def test_every_setting_of_the_schema_has_its_default_in_values() -> None:
    """Which of requests and limits there are is each part's own matter."""
    allowed = {path for path in paths_of_schema(SCHEMA) if not path.endswith((".requests", ".limits"))}
    assert allowed - paths_of_values(SCHEMA, VALUES) == {".global"}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"gatway": {}}, id="typo-at-the-top"),
        pytest.param({"gateway": {"replica": 1}}, id="typo-below"),
        pytest.param({"gateway": {"replicas": -1}}, id="fewer-gateways-than-none"),
        pytest.param({"operator": {"upgrade": {"maxConcurrentPercent": 0}}}, id="an-upgrade-that-never-begins"),
        pytest.param({"gateway": {"publicUrl": "https://x"}}, id="not-a-websocket"),
        pytest.param({"gateway": {"exposure": {"type": "NodePort"}}}, id="unknown-way-in"),
        pytest.param({"gateway": {"exposure": {"host": "a.example:443"}}}, id="port-in-a-host"),
        pytest.param({"redis": {"url": "redis://:secret@host:6379"}}, id="password-in-the-url"),
        pytest.param({"modelBackends": {"x": {"type": "Magic"}}}, id="unknown-backend"),
        pytest.param({"tenants": ["acme"]}, id="tenant-without-its-shape"),
        pytest.param({"admission": {"enabled": "yes"}}, id="a-switch-in-words"),
        pytest.param({"admission": {"controllerUsers": {"replicaSet": []}}}, id="no-controller-at-all"),
        pytest.param({"admission": {"controllerUsers": {"replicaset": ["x"]}}}, id="controller-typo"),
        pytest.param({"metrics": {"serviceMonitor": {"interval": "often"}}}, id="interval-in-words"),
        pytest.param({"prometheus": {"url": "prometheus:9090"}}, id="prometheus-without-scheme"),
        pytest.param({"prometheus": {"url": "http://me:secret@prometheus"}}, id="password-of-a-prometheus"),
        pytest.param({"prometheus": {"matchers": "namespace=rolehost-system"}}, id="matchers-without-quotes"),
        pytest.param({"prometheus": {"matchers": 'a="b"} or x{c="d"'}}, id="matchers-that-go-on"),
    ],
)
def test_a_wrong_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://redis.data:6379/0",
        "rediss://rolehost@redis.data",
        "redis+sentinel://a:26379,b:26379/main/0?replicas=1",
        "rediss+cluster://a:6379,b:6379",
    ],
)
def test_a_redis_is_named_as_the_gateway_takes_it(url: str) -> None:
    jsonschema.validate({"redis": {"url": url}}, SCHEMA)
    assert not url or parse(url).addresses


def test_a_prometheus_is_named() -> None:
    url = "https://thanos.monitoring:9090/prefix"
    jsonschema.validate(
        {"prometheus": {"url": url, "matchers": 'namespace="rolehost-system",job=~"roles|hosts"'}}, SCHEMA
    )
