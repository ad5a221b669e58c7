"""The chart brings the boards as they were rendered, for the sidecar of Grafana's own chart."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.chart.helm import Helm

GENERATED = Path(__file__).parents[3] / "dashboards" / "generated" / "grafana"
ON = ("--set", "metrics.dashboards.enabled=true")

pytestmark = pytest.mark.timeout(120)


def boards(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in objects if one["metadata"]["name"].startswith("rolehost-dashboard-")]


def test_there_are_none_unless_asked_for(helm: Helm) -> None:
    assert boards(helm.template()) == []


def test_each_board_is_a_config_map_that_the_sidecar_finds(helm: Helm) -> None:
    rendered = {f"rolehost-{path.name}": json.loads(path.read_text(encoding="utf-8")) for path in GENERATED.iterdir()}
    found = boards(helm.template(*ON))
    assert {one["metadata"]["labels"]["grafana_dashboard"] for one in found} == {"1"}
    assert {name: json.loads(text) for one in found for name, text in one["data"].items()} == rendered
    assert len(rendered) == 5


def test_the_chart_says_where_traces_are(helm: Helm) -> None:
    for board in boards(helm.template(*ON, "--set", "metrics.dashboards.traces=tempo")):
        [text] = board["data"].values()
        variables = {one["name"]: one for one in json.loads(text)["templating"]["list"]}
        assert (variables["traces"]["query"], variables["metrics"]["query"]) == ("tempo", "prometheus")
