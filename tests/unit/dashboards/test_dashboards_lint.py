"""Every panel of every board is held to the same rules, and asks only for what the code declares."""

from typing import Any

import pytest
from tests.support.declared import declared

from rolehost_dashboards.boards import boards
from rolehost_dashboards.boards.board import document
from rolehost_dashboards.lint.rules import findings, panels

BOARDS = [document(board) for board in boards()]
LEAST_PANELS = 37


def test_all_boards_are_as_they_have_to_be() -> None:
    assert findings(BOARDS, declared()) == []


def test_there_are_five_and_what_was_asked_for_is_on_them() -> None:
    assert [board["uid"].removeprefix("rolehost-") for board in BOARDS] == [
        "platform",
        "tenant",
        "role",
        "rollout",
        "sandbox",
    ]
    assert sum(len(panels(board)) for board in BOARDS) >= LEAST_PANELS
    queries = [target["expr"] for board in BOARDS for panel in panels(board) for target in panel["targets"]]
    for share in ("0.5", "0.95", "0.99"):
        assert any(query.startswith(f"histogram_quantile({share},") for query in queries)


def test_exemplars_lead_to_traces_by_the_variable() -> None:
    linked = [
        (panel, property)
        for board in BOARDS
        for panel in panels(board)
        for override in panel["fieldConfig"].get("overrides", ())
        for property in override["properties"]
        if property["id"] == "links"
    ]
    shown = [
        panel["title"]
        for board in BOARDS
        for panel in panels(board)
        if panel["type"] == "timeseries" and any(target.get("exemplar") for target in panel["targets"])
    ]
    assert sorted(panel["title"] for panel, _ in linked) == sorted(shown) != []
    assert all("${traces}" in property["value"][0]["url"] for _, property in linked)


def broken(change: Any) -> list[str]:
    """What is found where one panel of a good board is changed."""
    board = document(boards()[2])
    panel = next(one for one in panels(board) if one["type"] == "timeseries")
    change(board, panel)
    empty = {"panels": [], "links": [], "templating": {"list": []}, "annotations": {}}
    others = [{**empty, "uid": one["uid"], "title": one["title"]} for one in BOARDS if one["uid"] != board["uid"]]
    return findings([*others, board], declared())


def asks(query: str, legend: str = "{{outcome}}") -> Any:
    def change(_: Any, panel: Any) -> None:
        panel["targets"] = [{**panel["targets"][0], "expr": query, "legendFormat": legend}]

    return change


def sets(**values: Any) -> Any:
    return lambda _, panel: panel.update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(sets(title=""), "it has no title", id="no-title"),
        pytest.param(sets(description=""), "it has no description", id="no-description"),
        pytest.param(lambda _, panel: panel["fieldConfig"]["defaults"].pop("unit"), "it has no unit", id="no-unit"),
        pytest.param(
            sets(datasource={"type": "prometheus", "uid": "abc"}), "its datasource is abc", id="fixed-datasource"
        ),
        pytest.param(lambda board, panel: panel.update(id=1), "an id is there twice", id="id-twice"),
        pytest.param(sets(gridPos={"x": 20, "y": 1, "w": 8, "h": 8}), "wider than the 24 columns", id="too-wide"),
        pytest.param(sets(gridPos={"x": 0, "y": 1, "w": 8, "h": 8}), "it lies over", id="overlap"),
        pytest.param(asks("sum(rate(rolehost_turns_total[5m]))", ""), "no legend", id="no-legend"),
        pytest.param(
            asks("sum(rate(rolehost_turn_total[5m]))", "x"), "nothing declares `rolehost_turn_total`", id="no-metric"
        ),
        pytest.param(
            asks('sum(rate(rolehost_turns_total{color="red"}[5m]))', "x"), "names the label `color`", id="no-label"
        ),
        pytest.param(
            asks("topk(5, sum by (color) (rate(rolehost_turns_total[5m])))", "{{color}}"),
            "sum by names the label `color`",
            id="no-label-to-group-by",
        ),
        pytest.param(asks("sum(rolehost_turns_total)", "x"), "counts up for ever", id="naked-counter"),
        pytest.param(asks("sum(rate(rolehost_gateway_sockets[5m]))", "x"), "which is a gauge", id="rate-of-a-gauge"),
        pytest.param(
            asks("histogram_quantile(0.9, rate(rolehost_turn_seconds_bucket[5m]))", "x"),
            "something else than sum by (le, …)",
            id="quantile-of-one-process",
        ),
        pytest.param(
            asks("histogram_quantile(0.9, sum by (role) (rate(rolehost_turn_seconds_bucket[5m])))", "{{role}}"),
            "histogram_quantile names the label `le`",
            id="quantile-without-le",
        ),
        pytest.param(
            asks("topk(5, sum by (outcome, role) (rate(rolehost_turns_total[5m])))"),
            "series that differ in role have one legend",
            id="two-series-one-name",
        ),
        pytest.param(
            asks("sum by (outcome) (rate(rolehost_turns_total[5m]))"), "grows with outcome", id="unbounded-series"
        ),
        pytest.param(
            asks("topk(500, sum by (outcome) (rate(rolehost_turns_total[5m])))"),
            "grows with outcome",
            id="bound-too-high",
        ),
        pytest.param(asks("sum(rate(rolehost_turns_total[5m])", "x"), "is missing at the end of", id="no-promql"),
        pytest.param(
            asks('sum(rate(rolehost_turns_total{role="$rolle"}[5m]))', "x"),
            "there is no variable $rolle",
            id="no-variable",
        ),
        pytest.param(
            asks("sum by (role) (rate(rolehost_turns_total[5m])) / sum(rate(rolehost_turns_total[5m]))", "{{role}}"),
            "has role on one side only",
            id="matches-nothing",
        ),
        pytest.param(
            lambda board, _: board["links"].append({"url": "/d/nowhere"}), "leads to no board of ours", id="dead-link"
        ),
        pytest.param(
            lambda board, _: board["templating"]["list"][-1].update(query="label_values(rolehost_turns_total, color)"),
            "there is no label color",
            id="variable-of-no-label",
        ),
    ],
)
def test_what_is_wrong_is_said(change: Any, said: str) -> None:
    found = broken(change)
    assert any(said in one for one in found), found


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("topk(5, sum by (outcome) (rate(rolehost_turns_total[5m])))", id="rate"),
        pytest.param(
            "topk(5, sum by (outcome) (max_over_time(rolehost_turns_total[5m]) - rolehost_turns_total offset 5m))",
            id="compared-with-what-it-was",
        ),
    ],
)
def test_a_good_panel_changed_to_another_good_one_is_no_finding(query: str) -> None:
    assert broken(asks(query)) == []
