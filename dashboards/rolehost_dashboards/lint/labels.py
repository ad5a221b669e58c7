"""Which labels the result of a query has, from the labels that its series are declared with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rolehost_dashboards.lint.promql import (
    COMPARISONS,
    Aggregation,
    Binary,
    Call,
    Node,
    Number,
    Selector,
    Subquery,
    Text,
)

SCRAPED = frozenset({"instance", "job"})
"""Every series has them by being scraped."""
KEEPS = frozenset({"and", "unless", *COMPARISONS})
"""Operators whose result is the left side's series."""
MAKES_LABELS = frozenset({"label_replace", "label_join"})
LABELLESS = frozenset({"vector", "scalar", "time", "pi", "absent", "absent_over_time"})


@dataclass(frozen=True, slots=True)
class Series:
    """A name that can be selected."""

    kind: str
    """counter, gauge, bucket, or untyped for what a recording rule makes."""
    labels: frozenset[str]


Known = Mapping[str, Series]


@dataclass(slots=True)
class Faults:
    """What was found on the way."""

    found: list[str] = field(default_factory=list)

    def of(self, labels: tuple[str, ...], there: frozenset[str], where: str) -> None:
        for label in labels:
            if label not in there:
                self.found.append(f"{where} names the label `{label}`, and there is {_listed(there)}")


def labels_of(node: Node, known: Known, faults: Faults) -> frozenset[str]:
    """Of the result; what is wrong goes to `faults`.

    >>> from rolehost_dashboards.lint.promql import parse
    >>> known = {"x_bucket": Series("bucket", frozenset({"role", "le"}))}
    >>> sorted(labels_of(parse("histogram_quantile(0.5, sum by (le, role) (rate(x_bucket[5m])))"), known, Faults()))
    ['role']
    """
    match node:
        case Number() | Text():
            return frozenset()
        case Selector():
            return _selected(node, known, faults)
        case Subquery(of=of):
            return labels_of(of, known, faults)
        case Aggregation():
            return _aggregated(node, known, faults)
        case Call():
            return _called(node, known, faults)
        case Binary():
            return _joined(node, known, faults)


def _selected(node: Selector, known: Known, faults: Faults) -> frozenset[str]:
    series = known.get(node.name)
    if series is None:
        faults.found.append(f"nothing declares `{node.name}`")
        return frozenset()
    there = series.labels | SCRAPED
    faults.of(tuple(label for label, _, _ in node.matchers), there, node.name)
    return there


def _aggregated(node: Aggregation, known: Known, faults: Faults) -> frozenset[str]:
    inner = labels_of(node.of, known, faults)
    faults.of(node.grouping, inner, f"{node.operator} {'without' if node.without else 'by'}")
    if node.operator in {"topk", "bottomk", "limitk", "limit_ratio"}:
        return inner
    return inner - set(node.grouping) if node.without else inner & set(node.grouping)


def _called(node: Call, known: Known, faults: Faults) -> frozenset[str]:
    inner = frozenset[str]().union(*(labels_of(one, known, faults) for one in node.arguments))
    if node.function in LABELLESS:
        return frozenset()
    if node.function == "histogram_quantile":
        faults.of(("le",), inner, node.function)
        return inner - {"le"}
    if node.function in MAKES_LABELS and isinstance(node.arguments[1], Text):
        return inner | {node.arguments[1].text}
    return inner


def _joined(node: Binary, known: Known, faults: Faults) -> frozenset[str]:
    left, right = labels_of(node.left, known, faults), labels_of(node.right, known, faults)
    if node.matching == "on":
        faults.of(node.labels, left, f"{node.operator} on")
        faults.of(node.labels, right, f"{node.operator} on")
    if node.operator == "or":
        return left | right
    if node.group:
        many, one = (left, right) if node.group == "group_left" else (right, left)
        faults.of(node.included, one, node.group)
        return many | set(node.included)
    if isinstance(node.left, Number) or _is_scalar(node.left):
        return right
    if node.operator in KEEPS or isinstance(node.right, Number) or _is_scalar(node.right):
        return left
    if not node.matching and left != right:
        odd = sorted(left ^ right)
        faults.found.append(f"`{node.operator}` has {', '.join(odd)} on one side only, and matches nothing")
    if node.matching == "on":
        return frozenset(node.labels)
    return left - set(node.labels) if node.matching else left


def _is_scalar(node: Node) -> bool:
    """Of numbers and scalar functions alone."""
    match node:
        case Number():
            return True
        case Call(function=function):
            return function in {"scalar", "time", "pi"}
        case Binary(left=left, right=right):
            return _is_scalar(left) and _is_scalar(right)
        case _:
            return False


def _listed(labels: frozenset[str]) -> str:
    return ", ".join(sorted(labels)) or "none"
