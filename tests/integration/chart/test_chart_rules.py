"""The rule file is one, in whichever object it comes."""

from typing import Any

import yaml
from tests.integration.chart.helm import CHART, Helm

ON = ("--set", "metrics.rules.enabled=true")
OPERATOR = ("--api-versions", "monitoring.coreos.com/v1")
FILE = (CHART / "files" / "rules.yaml").read_text()


def rules(helm: Helm, *arguments: str) -> list[dict[str, Any]]:
    return [one for one in helm.template(*arguments) if one["metadata"]["name"] == "rolehost-rules"]


def test_rules_are_behind_their_switch(helm: Helm) -> None:
    assert rules(helm) == []


def test_where_prometheus_has_an_operator_they_are_a_rule(helm: Helm) -> None:
    (found,) = rules(helm, *ON, *OPERATOR, "--set", "metrics.rules.labels.release=kube-prometheus")
    assert (found["apiVersion"], found["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert found["metadata"]["labels"]["release"] == "kube-prometheus"
    assert found["spec"] == yaml.safe_load(FILE)


def test_elsewhere_they_are_a_file(helm: Helm) -> None:
    (found,) = rules(helm, *ON)
    assert found["kind"] == "ConfigMap"
    assert yaml.safe_load(found["data"]["rolehost.yaml"]) == yaml.safe_load(FILE)


def test_runbooks_are_where_they_are_served(helm: Helm) -> None:
    (found,) = rules(helm, *ON, "--set", "metrics.rules.runbooks=https://wiki.acme.com/rolehost/")
    text = found["data"]["rolehost.yaml"]
    assert "rolehost.invalid" not in text
    urls = [
        rule["annotations"]["runbook_url"]
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert urls
    assert all(url.startswith("https://wiki.acme.com/rolehost/Rolehost") for url in urls)
