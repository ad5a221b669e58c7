"""Conditions and values that a manifest may hold: a small, safe, total subset of CEL.

Literals, lists, `message`, `user`, `turn`, `node`, `state.x`, `user_state.x`; comparison, arithmetic, `&& || !`,
`?:`, `in`, `has()`, `[ ]`; `size contains startsWith endsWith lowerAscii int double string`; `exists` and `all` over
lists that are written out. No patterns, no loop, no time, nothing that reads beyond one turn.

Not a CEL library: celpy takes some 100 µs for what takes 1 here and does not check types; the bindings to Rust and C++ are
binaries in the sandbox's image that neither stop at our bounds nor underline what is wrong.

`lexing` → `parsing` (with `macros`) → `tree` → `checking` against `types` → `generating` Python, which calls
`running`; `evaluating` answers from the tree, and both are held to agree.
"""

from collections.abc import Callable
from typing import Any, cast

from rolehost_api.errors import BadRequest
from rolehost_runtime.core.dsl.expressions import running
from rolehost_runtime.core.dsl.expressions.checking import Types, check
from rolehost_runtime.core.dsl.expressions.generating import generate
from rolehost_runtime.core.dsl.expressions.lexing import Faulty
from rolehost_runtime.core.dsl.expressions.parsing import parse
from rolehost_runtime.core.dsl.expressions.running import Fault, Verdict, verdict
from rolehost_runtime.core.dsl.expressions.tree import Problem, Span, Tree
from rolehost_runtime.core.dsl.expressions.types import Facts, Kind, Names, Type

__all__ = [
    "Expression", "Facts", "Fault", "InvalidExpression", "Names", "Predicate", "Problem", "Span", "Type", "Verdict",
    "analysed", "compile_expression", "compile_value",
]  # fmt: skip

_HELPERS = {name: vars(running)[name] for name in running.CALLED}


class InvalidExpression(BadRequest):
    """An expression that cannot be accepted; `problems` holds all that is wrong with it, in order."""

    code = "invalid_expression"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        first = problems[0]
        super().__init__(f"an expression is wrong at {first.span.start + 1}: {first.message}", hint=first.hint)


class Expression:
    """An expression that was checked, and runs."""

    __slots__ = ("_run", "source", "text", "tree", "type", "types")

    def __init__(self, text: str, tree: Tree, types: Types) -> None:
        self.text = text
        """As it was written."""
        self.tree, self.types = tree, types
        self.type = types[id(tree)]
        kept: dict[str, str] = {}
        self.source = generate(tree, types, lambda word: kept.setdefault(word, f"k{len(kept)}"))
        """What runs: our operations over `facts`, and k0, k1, … for the text that the expression holds."""
        names: dict[str, Any] = {
            "__builtins__": {},
            "len": len,
            **_HELPERS,
            **{key: word for word, key in kept.items()},
        }
        # Nothing of the text is in the source: no name, no string, and numbers as Python writes them.
        code = compile(f"lambda facts: {self.source}", "<expression>", "eval")
        self._run = cast(Callable[[Facts], object], eval(code, names))  # noqa: S307

    def value(self, facts: Facts) -> object:
        """What it comes to, a Fault where there is no answer. Never raises."""
        return self._run(facts)


class Predicate(Expression):
    """A condition. One that fails does not hold.

    >>> dragons = compile_expression("message.contains('dragon') && turn > 1")
    >>> dragons(Facts(message="a dragon!", turn=2)), dragons(Facts(message="a cat", turn=2))
    (True, False)
    >>> compile_expression("state.score / 0 > 1").judge(Facts(state={"score": 1}))
    Verdict(holds=False, why='division by zero')
    """

    __slots__ = ()

    def __call__(self, facts: Facts) -> bool:
        return self._run(facts) is True

    def judge(self, facts: Facts) -> Verdict:
        """Whether it holds, and why there is no answer where there is none."""
        return verdict(self._run(facts))


def analysed(text: str, names: Names) -> tuple[Tree, Types]:
    """The checked tree of an expression. Raises InvalidExpression."""
    try:
        tree = parse(text)
    except Faulty as faulty:
        raise InvalidExpression([faulty.problem]) from None
    types, problems = check(tree, names)
    if problems:
        raise InvalidExpression(sorted(problems, key=lambda problem: problem.span))
    return tree, types


def compile_value(text: str, names: Names | None = None) -> Expression:
    """An expression of any type. Raises InvalidExpression."""
    return Expression(text, *analysed(text, names or Names()))


def compile_expression(text: str, names: Names | None = None) -> Predicate:
    """A condition. Raises InvalidExpression, also where it can be neither true nor false."""
    tree, types = analysed(text, names or Names())
    if types[id(tree)].kind not in (Kind.BOOL, Kind.DYN):
        message = f"a condition is true or false, and this is {types[id(tree)]}"
        hint = "Compare it with something" if types[id(tree)].kind is not Kind.STRING else "Write text.contains('…')"
        raise InvalidExpression([Problem("type_mismatch", message, Span(0, max(len(text), 1)), hint)])
    return Predicate(text, tree, types)
