"""A tenant's own PromQL, so that it reads its own series only.

The operator asks a Prometheus that knows every tenant, with its own rights. So a query is read by a grammar of our
own, and written anew with `tenant="…"` in every selector: matchers are joined by AND, so whatever else a selector
says, no other tenant's series is in it. What the grammar does not know is refused, and nothing of the original text
reaches Prometheus but names, numbers and quoted strings.
It shares no reader with the lint of our own boards: what that one has to take (variables, subqueries, any function) must
have no token and no rule here.

    sum(rate(x_total{revision="$candidate"}[5m]))
    sum(rate(x_total{tenant="acme",revision="cat-0123456789"}[5m]))

    expression = unary { operator [bool] [(on|ignoring) (…) [(group_left|group_right) [(…)]]] unary }
    unary      = [+|-] (number | string | ( expression ) | function ( … ) | aggregation | selector)
    selector   = name [{…}] | {…}, then [duration], then offset duration

Left out on purpose: subqueries and ranges beyond an hour (they cost what one tenant should not take of a shared
Prometheus), @, and functions that read series of their own (`info`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rolehost_api.errors import BadRequest

LONGEST_RANGE = 3600
"""Seconds."""
LONGEST_OFFSET = 86_400
MOST_SELECTORS = 8
DEEPEST = 32
LONGEST = 2048

AGGREGATIONS = frozenset(
    "avg bottomk count count_values group max min quantile stddev stdvar sum topk".split()  # noqa: SIM905
)
FUNCTIONS = frozenset(
    """
    abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp clamp_max clamp_min cos cosh
    count_over_time day_of_month day_of_week day_of_year days_in_month deg delta deriv exp floor histogram_quantile
    holt_winters hour idelta increase irate label_join label_replace last_over_time ln log10 log2 max_over_time
    min_over_time minute month pi predict_linear present_over_time quantile_over_time rad rate resets round scalar sgn sin
    sinh sort sort_desc sqrt stddev_over_time stdvar_over_time sum_over_time tan tanh time timestamp vector year
    """.split()  # noqa: SIM905
)
OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "^", "and", "or", "unless", "atan2")
COMPARISONS = frozenset({"==", "!=", "<=", ">=", "<", ">"})
KEYWORDS = frozenset(
    {"and", "or", "unless", "atan2", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}
    | {"start", "end", "inf", "nan"}
)
VARIABLE = re.compile(r"\$(tenant|role|candidate|baseline)\b")
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<duration>(?:[0-9]+(?:ms|[smhdwy]))+(?![A-Za-z0-9_.:]))
      | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.:]))
      | (?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
      | (?P<string>"(?:[^"\\\x00-\x1f]|\\.)*"|'(?:[^'\\\x00-\x1f]|\\.)*')
      | (?P<mark>=~|!~|==|!=|<=|>=|[-+*/%^<>=(){}\[\],])
    """,
    re.VERBOSE,
)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_ESCAPE = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


class InvalidQuery(BadRequest):
    """A query that is not sent, because it is not one or asks for more than a tenant may."""

    code = "invalid_promql"


def confined(query: str, names: Mapping[str, str]) -> str:
    """The query as it may be asked, for `names`: tenant, role, candidate, baseline. Raises InvalidQuery.

    >>> who = {"tenant": "acme", "role": "cat", "candidate": "cat-1", "baseline": "cat-0"}
    >>> confined('rate(x{revision="$candidate"}[5m]) > 2', who)
    'rate(x{tenant="acme",revision="cat-1"}[5m]) > 2'
    >>> confined('x{tenant="other"}', who)
    'x{tenant="acme",tenant="other"}'
    """
    if len(query) > LONGEST:
        raise InvalidQuery(f"the query has more than {LONGEST} characters")
    parser = _Parser(_tokens(query), names)
    return parser.whole()


def quoted(text: str) -> str:
    r"""A string of PromQL, whatever it holds.

    >>> print(quoted('a"b\\c'))
    "a\"b\\c"
    """
    made = []
    for char in text:
        if char in '"\\':
            made.append("\\" + char)
        elif char.isprintable():
            made.append(char)
        else:
            made.append("".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "replace")))
    return f'"{"".join(made)}"'


def seconds(duration: str) -> float:
    """
    >>> seconds("1h30m"), seconds("500ms")
    (5400.0, 0.5)
    """
    return float(sum(int(count) * _SECONDS[unit] for count, unit in re.findall(r"([0-9]+)(ms|[smhdwy])", duration)))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(query: str) -> list[_Token]:
    found, at = [], 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None:
            raise InvalidQuery(
                f"in the query at character {at + 1}: {query[at]!r} is not known here", hint=_hint(query, at)
            )
        if match.lastgroup != "space":
            found.append(_Token(str(match.lastgroup), match.group(), at))
        at = match.end()
    return found


def _hint(query: str, at: int) -> str:
    if query[at] == "$":
        return 'Names stand in quotes: {revision="$candidate"}'
    return "Comments, @ and backquotes are not taken" if query[at] in "#@`" else ""


class _Parser:
    """Reads tokens, writes the query; each method takes what its name says."""

    def __init__(self, tokens: list[_Token], names: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._names = names
        self._next = 0
        self._depth = 0
        self._selectors = 0

    def whole(self) -> str:
        made = self._expression()
        if (left := self._peek()) is not None:
            raise self._unexpected(left)
        if not self._selectors:
            raise InvalidQuery("the query reads no series")
        return made

    # ── tokens ──────────────────────────────────────────────────────────────────────

    def _peek(self, ahead: int = 0) -> _Token | None:
        place = self._next + ahead
        return self._tokens[place] if place < len(self._tokens) else None

    def _is(self, *texts: str, ahead: int = 0) -> bool:
        found = self._peek(ahead)
        return found is not None and found.kind in ("mark", "name") and found.text in texts

    def _take(self) -> _Token:
        found = self._peek()
        if found is None:
            raise InvalidQuery("the query ends too early")
        self._next += 1
        return found

    def _mark(self, text: str) -> str:
        found = self._take()
        if found.kind != "mark" or found.text != text:
            raise InvalidQuery(
                f"in the query at character {found.at + 1}: {text!r} was expected, not {found.text[:40]!r}"
            )
        return text

    def _kind(self, kind: str) -> str:
        found = self._take()
        if found.kind != kind:
            raise self._unexpected(found, f", where a {kind} was expected")
        return found.text

    @staticmethod
    def _unexpected(token: _Token, more: str = "") -> InvalidQuery:
        return InvalidQuery(f"in the query at character {token.at + 1}: {token.text[:40]!r} is not known here{more}")

    # ── grammar ─────────────────────────────────────────────────────────────────────

    def _expression(self) -> str:
        self._depth += 1
        if self._depth > DEEPEST:
            raise InvalidQuery(f"the query is nested deeper than {DEEPEST}")
        made = [self._unary()]
        while self._is(*OPERATORS):
            operator = self._take().text
            made.append(operator)
            if self._is("bool") and operator in COMPARISONS:
                made.append(self._take().text)
            if self._is("on", "ignoring"):
                made.append(self._take().text + self._labels())
                if self._is("group_left", "group_right"):
                    made.append(self._take().text + (self._labels() if self._is("(") else ""))
            made.append(self._unary())
        self._depth -= 1
        return " ".join(made)

    def _unary(self) -> str:
        signs = []
        while self._is("+", "-"):
            signs.append(self._take().text)
            if len(signs) > 1:
                raise InvalidQuery("the query has more than one sign before a number")
        return "".join(signs) + self._operand()

    def _operand(self) -> str:
        found = self._take()
        if found.kind == "number":
            return found.text
        if found.kind == "string":
            return quoted(self._text(found))
        if found.kind == "mark" and found.text == "(":
            return f"({self._expression()}{self._mark(')')}"
        if found.kind == "mark" and found.text == "{":
            return self._selector("")
        if found.kind != "name":
            raise self._unexpected(found)
        if found.text.lower() in ("inf", "nan") and not self._is("(", "{", "["):
            return found.text
        if found.text in AGGREGATIONS and self._is("(", "by", "without"):
            return self._aggregation(found.text)
        if found.text in FUNCTIONS and self._is("("):
            return found.text + self._arguments()
        if self._is("("):
            raise InvalidQuery(
                f"in the query at character {found.at + 1}: the function {found.text[:40]!r} is not known here"
            )
        if found.text.lower() in KEYWORDS | AGGREGATIONS:
            raise self._unexpected(found)
        if self._is("{"):
            self._take()
            return self._selector(found.text)
        return self._selector(found.text, bare=True)

    def _aggregation(self, name: str) -> str:
        before = self._take().text + self._labels() if self._is("by", "without") else ""
        made = f"{name} {before} " if before else name
        made += self._arguments()
        if not before and self._is("by", "without"):
            made += f" {self._take().text}{self._labels()}"
        return made

    def _arguments(self) -> str:
        self._mark("(")
        made = []
        while not self._is(")"):
            made.append(self._expression())
            if not self._is(")"):
                self._mark(",")
        self._mark(")")
        return f"({', '.join(made)})"

    def _labels(self) -> str:
        self._mark("(")
        made = []
        while not self._is(")"):
            made.append(self._label())
            if not self._is(")"):
                self._mark(",")
        self._mark(")")
        return f"({', '.join(made)})"

    def _label(self) -> str:
        found = self._kind("name")
        if ":" in found:
            raise InvalidQuery(f"{found[:40]!r} is no label")
        return found

    def _selector(self, name: str, *, bare: bool = False) -> str:
        """From behind its opening brace, or a name without any."""
        self._selectors += 1
        if self._selectors > MOST_SELECTORS:
            raise InvalidQuery(f"the query has more than {MOST_SELECTORS} selectors")
        matchers = [f"tenant={quoted(self._names['tenant'])}"]
        if not bare:
            while not self._is("}"):
                label = self._label()
                operator = self._take()
                if operator.text not in ("=", "!=", "=~", "!~") or operator.kind != "mark":
                    raise self._unexpected(operator, ", where =, !=, =~ or !~ was expected")
                matchers.append(label + operator.text + quoted(self._text(self._string())))
                if not self._is("}"):
                    self._mark(",")
            self._mark("}")
        return name + "{" + ",".join(matchers) + "}" + self._range()

    def _range(self) -> str:
        made = ""
        if self._is("["):
            self._take()
            made += f"[{self._duration(LONGEST_RANGE)}]"
            self._mark("]")
        if self._is("offset"):
            self._take()
            sign = self._take().text if self._is("-") else ""
            made += f" offset {sign}{self._duration(LONGEST_OFFSET)}"
        return made

    def _duration(self, longest: int) -> str:
        found = self._kind("duration")
        if not 0 < seconds(found) <= longest:
            raise InvalidQuery(f"the query reads {found[:20]}; from 1 ms to {longest} s may be read")
        return found

    def _string(self) -> _Token:
        found = self._take()
        if found.kind != "string":
            raise self._unexpected(found, ", where a string in quotes was expected")
        return found

    def _text(self, token: _Token) -> str:
        """What a string says, with the names in their places."""
        body, made, at = token.text[1:-1], [], 0
        while at < len(body):
            if body[at] != "\\":
                made.append(body[at])
                at += 1
                continue
            if body[at + 1] not in _ESCAPE:
                raise InvalidQuery(
                    f"in the query at character {token.at + 2 + at}: the escape {body[at : at + 2]!r} is not known here"
                )
            made.append(_ESCAPE[body[at + 1]])
            at += 2
        return VARIABLE.sub(lambda found: self._names[found.group(1)], "".join(made))
