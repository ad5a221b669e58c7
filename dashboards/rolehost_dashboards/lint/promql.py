"""As much of PromQL as our boards and rules use, read into a tree. Pure.

Grafana's `$variables` may stand inside strings and as durations; nowhere else. The tenants' reader in `rolehost_api.promql`
is another on purpose: it knows less, and writes what it reads.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

AGGREGATIONS = frozenset(
    [
        "sum",
        "min",
        "max",
        "avg",
        "count",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "quantile",
        "count_values",
        "limitk",
        "limit_ratio",
    ]
)
PARAMETRIC = frozenset({"topk", "bottomk", "quantile", "count_values", "limitk", "limit_ratio"})
"""Their first argument is a parameter."""
_LEVELS = (("or",), ("and", "unless"), ("==", "!=", "<=", "<", ">=", ">"), ("+", "-"), ("*", "/", "%"), ("^",))
COMPARISONS = frozenset(_LEVELS[2])
_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<number>0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])|(?:NaN|Inf)\b)
    |(?P<duration>\d[\dsmhdwy]*)
    |(?P<name>[a-zA-Z_][\w:]*)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<variable>\$\{?\w+\}?)
    |(?P<sign>=~|!~|==|!=|<=|>=|[-+*/%^(){}\[\],=<>:@])""",
    re.VERBOSE,
)


class NotPromQL(ValueError):
    """It cannot be read; the message says where."""


@dataclass(frozen=True, slots=True)
class Number:
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Selector:
    name: str
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator, value."""
    range: str = ""
    offset: str = ""


@dataclass(frozen=True, slots=True)
class Subquery:
    of: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Aggregation:
    operator: str
    arguments: tuple["Node", ...]
    grouping: tuple[str, ...] = ()
    without: bool = False

    @property
    def of(self) -> "Node":
        return self.arguments[-1]


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: "Node"
    right: "Node"
    matching: str = ""
    """`on`, `ignoring` or nothing."""
    labels: tuple[str, ...] = ()
    group: str = ""
    """`group_left`, `group_right` or nothing."""
    included: tuple[str, ...] = ()


Node = Number | Text | Selector | Subquery | Call | Aggregation | Binary


def parse(query: str) -> Node:
    """Raises NotPromQL.

    >>> parse('sum by (role) (rate(x_total{role="a"}[5m]))').grouping
    ('role',)
    >>> parse("sum by (role")
    Traceback (most recent call last):
    rolehost_dashboards.lint.promql.NotPromQL: `,` is missing at the end of: sum by (role
    """
    reader = _Reader(query)
    node = reader.expression()
    reader.end()
    return node


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Call(arguments=arguments) | Aggregation(arguments=arguments):
            return arguments
        case Binary(left=left, right=right):
            return (left, right)
        case Subquery(of=of):
            return (of,)
        case _:
            return ()


class _Reader:
    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens = list(_tokens(query))
        self._at = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, text: str = "") -> str:
        kind, found = self._peek()
        if kind == "end" or (text and found != text):
            raise NotPromQL(f"`{text or 'more'}` is missing {self._place()} of: {self._query}")
        self._at += 1
        return found

    def _is(self, *texts: str) -> bool:
        kind, found = self._peek()
        return kind != "string" and found in texts

    def _place(self) -> str:
        kind, found = self._peek()
        return "at the end" if kind == "end" else f"before `{found}`"

    def end(self) -> None:
        if self._peek()[0] != "end":
            raise NotPromQL(f"`{self._peek()[1]}` is too much in: {self._query}")

    def expression(self, level: int = 0) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self.expression(level + 1)
        while self._is(*_LEVELS[level]):
            operator = self._take()
            if self._is("bool"):
                self._take()
            matching, group = "", ""
            labels: tuple[str, ...] = ()
            included: tuple[str, ...] = ()
            if self._is("on", "ignoring"):
                matching, labels = self._take(), self._names()
            if self._is("group_left", "group_right"):
                group, included = self._take(), self._names() if self._is("(") else ()
            left = Binary(operator, left, self.expression(level + 1), matching, labels, group, included)
        return left

    def _unary(self) -> Node:
        if self._is("-", "+"):
            self._take()
            return self._unary()
        node = self._primary()
        while True:
            if self._is("["):
                node = self._ranged(node)
            elif self._is("offset"):
                self._take()
                sign = self._take() if self._is("-") else ""
                node = _moved(node, sign + self._take())
            else:
                return node

    def _ranged(self, node: Node) -> Node:
        self._take("[")
        span = self._take()
        if self._is(":"):
            self._take()
            if not self._is("]"):
                self._take()
            self._take("]")
            return Subquery(node)
        self._take("]")
        if not isinstance(node, Selector):
            raise NotPromQL(f"a range of what is no selector in: {self._query}")
        return Selector(node.name, node.matchers, span, node.offset)

    def _primary(self) -> Node:
        kind, text = self._peek()
        if kind == "number":
            return Number(self._take())
        if kind == "string":
            return Text(self._take()[1:-1])
        if text == "(":
            self._take()
            node = self.expression()
            self._take(")")
            return node
        if text == "{":
            return Selector("", self._matchers())
        if kind != "name":
            raise NotPromQL(f"an expression is missing {self._place()} of: {self._query}")
        self._take()
        if text in AGGREGATIONS and self._is("(", "by", "without"):
            return self._aggregation(text)
        if self._is("("):
            return Call(text, self._arguments())
        return Selector(text, self._matchers() if self._is("{") else ())

    def _aggregation(self, operator: str) -> Node:
        grouped: tuple[bool, tuple[str, ...]] = (False, ())
        if self._is("by", "without"):
            grouped = (self._take() == "without", self._names())
        arguments = self._arguments()
        if self._is("by", "without"):
            grouped = (self._take() == "without", self._names())
        if len(arguments) != 1 + (operator in PARAMETRIC):
            raise NotPromQL(f"{operator} with {len(arguments)} arguments in: {self._query}")
        return Aggregation(operator, arguments, grouped[1], grouped[0])

    def _arguments(self) -> tuple[Node, ...]:
        self._take("(")
        found: list[Node] = []
        while not self._is(")"):
            found.append(self.expression())
            if not self._is(")"):
                self._take(",")
        self._take(")")
        return tuple(found)

    def _names(self) -> tuple[str, ...]:
        self._take("(")
        found: list[str] = []
        while not self._is(")"):
            found.append(self._take())
            if not self._is(")"):
                self._take(",")
        self._take(")")
        return tuple(found)

    def _matchers(self) -> tuple[tuple[str, str, str], ...]:
        self._take("{")
        found: list[tuple[str, str, str]] = []
        while not self._is("}"):
            label, operator, value = self._take(), self._take(), self._take()
            if operator not in {"=", "!=", "=~", "!~"} or value[:1] not in {'"', "'"}:
                raise NotPromQL(f"{label}{operator}{value} is no matcher in: {self._query}")
            found.append((label, operator, value[1:-1]))
            if not self._is("}"):
                self._take(",")
        self._take("}")
        return tuple(found)


def _moved(node: Node, offset: str) -> Node:
    """A selector in the past; a subquery's is of no interest here."""
    return Selector(node.name, node.matchers, node.range, offset) if isinstance(node, Selector) else node


def _tokens(query: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(query):
        found = _TOKEN.match(query, at)
        if found is None:
            raise NotPromQL(f"`{query[at : at + 8]}` cannot be read in: {query}")
        at = found.end()
        if found.lastgroup != "space":
            yield str(found.lastgroup), found.group()
