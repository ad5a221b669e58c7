"""Queries are read as Prometheus reads them, as far as they are read, and their results' labels are known."""

import pytest

from rolehost_dashboards.lint.labels import Faults, Series, labels_of
from rolehost_dashboards.lint.promql import Aggregation, Binary, Call, NotPromQL, Number, Selector, parse

KNOWN = {
    "calls_total": Series("counter", frozenset({"tenant", "role", "code"})),
    "seconds_bucket": Series("bucket", frozenset({"role", "le"})),
    "target": Series("gauge", frozenset({"role", "objective"})),
}


def test_what_binds_more_tightly_is_deeper() -> None:
    node = parse("1 + 2 * target > 3 or target")
    assert isinstance(node, Binary)
    assert node.operator == "or"
    assert isinstance(node.left, Binary)
    assert node.left.operator == ">"
    assert isinstance(node.left.left, Binary)
    assert (node.left.left.operator, node.left.left.left) == ("+", Number("1"))


def test_the_parts_of_a_query() -> None:
    node = parse("sum without (code) (rate(calls_total{tenant=~\"a|b\", role!='x'}[$__rate_interval] offset 1h))")
    assert isinstance(node, Aggregation)
    assert (node.operator, node.grouping, node.without) == ("sum", ("code",), True)
    assert node.of == Call(
        "rate", (Selector("calls_total", (("tenant", "=~", "a|b"), ("role", "!=", "x")), "$__rate_interval", "1h"),)
    )


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        pytest.param("target", {"role", "objective", "instance", "job"}, id="scraped"),
        pytest.param("sum(target)", set(), id="sum"),
        pytest.param("sum by (role) (rate(calls_total[5m]))", {"role"}, id="by"),
        pytest.param("sum(rate(calls_total[5m])) by (role)", {"role"}, id="by-at-the-end"),
        pytest.param("max without (instance, job) (target)", {"role", "objective"}, id="without"),
        pytest.param("topk(3, sum by (role) (target))", {"role"}, id="topk-keeps"),
        pytest.param("histogram_quantile(0.5, sum by (le, role) (rate(seconds_bucket[5m])))", {"role"}, id="quantile"),
        pytest.param("3 * sum by (role) (target)", {"role"}, id="a-number-has-none"),
        pytest.param(
            "sum by (role) (target) / on (role) sum by (role, code) (rate(calls_total[5m]))", {"role"}, id="on"
        ),
        pytest.param(
            "sum by (role, objective) (target) * on (role) group_left (code) sum by (role, code) (rate(calls_total[5m]))",
            {"role", "objective", "code"},
            id="group_left",
        ),
        pytest.param(
            "sum by (role) (target) and on (role) sum by (role, code) (rate(calls_total[5m]))", {"role"}, id="and"
        ),
        pytest.param("sum(target) or sum by (role) (target)", {"role"}, id="or-has-either"),
        pytest.param('label_replace(sum(target), "kind", "a", "", "")', {"kind"}, id="label_replace"),
        pytest.param("vector(1)", set(), id="vector"),
        pytest.param("avg_over_time(sum by (role) (target)[1h:5m])", {"role"}, id="subquery"),
    ],
)
def test_the_labels_of_a_result(query: str, labels: set[str]) -> None:
    faults = Faults()
    assert labels_of(parse(query), KNOWN, faults) == labels
    assert faults.found == []


@pytest.mark.parametrize(
    "query",
    ["", "sum(", "a b", "a{b}", 'a{b~"c"}', "sum by role (a)", "topk(a)", "(a", "a)", "a[5m", "5m[5m]", "a ! b"],
)
def test_what_is_no_promql_is_refused(query: str) -> None:
    with pytest.raises(NotPromQL):
        parse(query)
