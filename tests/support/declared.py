"""Which series the code can export, read from where it declares them: no list kept by hand.

Every call of prometheus_client's metric types in the sources is evaluated, its name and its labels, with the module's
own globals and the assignments of the function that it stands in. One that cannot be evaluated is an error, so that
nothing is overlooked.
"""

import ast
import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from rolehost_dashboards.lint.labels import Series

ROOT = Path(__file__).parents[2]
SOURCES = {"rolehost_api": "runtime", "rolehost_runtime": "runtime", "rolehost_operator": "operator"}
FAMILIES = {
    "CounterMetricFamily": "Counter",
    "GaugeMetricFamily": "Gauge",
    "HistogramMetricFamily": "Histogram",
    "SummaryMetricFamily": "Summary",
}
TYPES = frozenset({"Counter", "Gauge", "Histogram", "Summary"}) | FAMILIES.keys()
READY: Mapping[str, Any] = {
    "ProcessCollector": ProcessCollector,
    "GCCollector": GCCollector,
    "PlatformCollector": PlatformCollector,
}
"""prometheus_client's own: what they export is asked of them."""
Scope = dict[str, Any]


@cache
def declared() -> Mapping[str, Series]:
    """By their names in the exposition. Raises ValueError where a declaration cannot be read."""
    found: dict[str, Series] = {}
    for package, folder in SOURCES.items():
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if "prometheus_client" in source:
                found.update(_of_module(path, path.relative_to(ROOT / folder), source))
    return found


def _of_module(path: Path, relative: Path, source: str) -> dict[str, Series]:
    tree = ast.parse(source)
    imported = _imported(tree)
    if not imported & (TYPES | READY.keys()):
        return {}
    parts = relative.with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    found: dict[str, Series] = {}
    for call, around in _calls(tree, ()):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name not in imported:
            continue
        if name in READY:
            found.update(_exported(READY[name](registry=CollectorRegistry())))
        elif name in TYPES:
            read = dict(_declarations(call, name, around, vars(module)))
            if not read:
                raise ValueError(f"{path}:{call.lineno}: {ast.unparse(call.args[0])} is no name that can be read")
            found.update(read)
    return found


def _imported(tree: ast.Module) -> set[str]:
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
        for alias in node.names
    }


def _calls(node: ast.AST, around: tuple[ast.AST, ...]) -> Iterator[tuple[ast.Call, tuple[ast.AST, ...]]]:
    if isinstance(node, ast.Call):
        yield node, around
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, (*around, node))


def _declarations(call: ast.Call, name: str, around: tuple[ast.AST, ...], base: Scope) -> Iterator[tuple[str, Series]]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    labels_at = given.get("labels") or given.get("labelnames") or (call.args[2] if len(call.args) > 2 else None)
    for scope in _scopes(around, base):
        metric, labels = _value(call.args[0], scope), _value(labels_at, scope) if labels_at is not None else ()
        if isinstance(metric, str) and labels is not None:
            yield from _series(FAMILIES.get(name, name), metric, frozenset(labels))


def _scopes(around: tuple[ast.AST, ...], base: Scope) -> Iterator[Scope]:
    """What names mean at the call: the module's, those that its functions assign, and those of the loop around it, once
    for each round."""
    scope = dict(base)
    for node in around:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in ast.walk(node):
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    value = _value(statement.value, scope)
                    if value is not None:
                        scope[statement.targets[0].id] = value
    loops = [(node.target, node.iter) for node in around if isinstance(node, ast.For)]
    loops += [(one.target, one.iter) for node in around for one in getattr(node, "generators", ())]
    if not loops:
        yield scope
        return
    target, over = loops[-1]
    for item in _items(over, scope):
        yield {**scope, **dict(_named(target, item))}


def _items(over: ast.expr, scope: Scope) -> list[Any]:
    """Of a loop; of a literal, those parts that can be read."""
    whole = _value(over, scope)
    if whole is not None:
        return list(whole)
    if isinstance(over, ast.Tuple | ast.List):
        return [_parts(item, scope) for item in over.elts]
    return []


def _parts(item: ast.expr, scope: Scope) -> Any:
    return tuple(_parts(one, scope) for one in item.elts) if isinstance(item, ast.Tuple) else _value(item, scope)


def _named(target: ast.expr, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, tuple):
        for one, part in zip(target.elts, value, strict=False):
            yield from _named(one, part)


def _value(node: ast.expr, scope: Scope) -> Any:
    """None where it depends on what is only known at run time."""
    try:
        return eval(compile(ast.Expression(node), "declaration", "eval"), dict(scope))
    except Exception:  # whatever it was: it cannot be read
        return None


def _series(kind: str, name: str, labels: frozenset[str]) -> Iterator[tuple[str, Series]]:
    if kind == "Counter":
        yield f"{name.removesuffix('_total')}_total", Series("counter", labels)
    elif kind == "Gauge":
        yield name, Series("gauge", labels)
    else:
        yield f"{name}_sum", Series("counter", labels)
        yield f"{name}_count", Series("counter", labels)
        if kind == "Histogram":
            yield f"{name}_bucket", Series("bucket", labels | {"le"})


def _exported(collector: Collector) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for family in collector.collect():
        for sample in family.samples:
            kind = "counter" if family.type == "counter" else "gauge"
            found[sample.name] = Series(kind, frozenset(sample.labels))
    return found
