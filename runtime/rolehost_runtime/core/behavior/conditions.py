"""Expressions as predicates of edges."""

from functools import lru_cache
from typing import Any, Protocol

from rolehost.role import Hook
from rolehost_runtime.core.behavior.graph import InvalidBehavior, Refused, When
from rolehost_runtime.core.dsl.expressions import Facts, InvalidExpression, Predicate, compile_expression

MAX_KEPT = 256
"""Expressions that sessions added, compiled."""


class Asked(Protocol):
    """What a tick's predicates are asked about: what `ticking.tick` takes as facts."""

    def facts(self, node: str) -> Facts:
        """Of the turn, in the subgraph whose current node this is."""

    def judge(self, hook: Hook) -> bool:
        """What a function of the tenant's says. Raises Refused."""


def condition(text: str, source: str) -> When | None:
    """The predicate of an edge that leaves `source`; None where the text is empty: always. Raises InvalidBehavior."""
    return holds(_compiled(text), source) if text else None


def holds(predicate: Predicate, source: str) -> When:
    """An edge is looked at in its source only, so the current node is known beforehand."""
    judge = predicate.judge

    def when(asked: Any) -> bool:
        verdict = judge(asked.facts(source))
        if verdict.why:
            raise Refused(verdict.why)
        return verdict.holds

    return when


@lru_cache(maxsize=MAX_KEPT)
def _compiled(text: str) -> Predicate:
    try:
        return compile_expression(text)
    except InvalidExpression as error:
        raise InvalidBehavior(error.message, hint=error.hint, code="invalid_expression") from None
