"""The behaviour graph as role logic declares it, and what a turn may change of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from rolehost_api.errors import LogicError


class Behavior(Protocol):
    """`t.behavior`: the graph of this session. Changes are durable with the turn, and have their effect from the next
    message on; in a revision that lacks what they name they are ignored.

    With several subgraphs the first one that has the node is meant, unless `subgraph` names one. Raises LogicError
    `unknown_node`, `unknown_edge`, `unknown_subgraph`, `invalid_behavior` and, past 64 changes, `too_many_overrides`.
    """

    @property
    def nodes(self) -> Mapping[str, str]:
        """The current node of each subgraph."""

    def disable(self, node: str, target: str | None = None, *, subgraph: str = "") -> None:
        """Nobody enters that node any more; with `target`, nobody takes the edges from one to the other."""

    def enable(self, node: str, target: str | None = None, *, subgraph: str = "") -> None:
        """The opposite of `disable`, also for a node that the Role itself declares as disabled."""

    def weight(self, source: str, target: str, weight: float, *, subgraph: str = "") -> None:
        """The edges from one node to the other weigh this now; 0: they are not taken."""

    def add_node(self, node: str, prompt: str = "", *, subgraph: str = "") -> None:
        """One more node; without `subgraph` in the first one. `prompt` is what the model is told while it is current.
        Added again, it is as said last."""

    def add_edge(
        self,
        source: str,
        target: str,
        *,
        weight: float = 1.0,
        when: str = "",
        cooldown_turns: int = 0,
        cooldown_seconds: int = 0,
        subgraph: str = "",
    ) -> None:
        """One more edge; `when` is an expression as in the manifest, empty: always. Added again, it is as said last."""

    def reset(self) -> None:
        """Take back all that was changed in this session."""


class NoBehavior:
    """Of a Role without a graph, and outside of an engine."""

    nodes: Mapping[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        raise LogicError(
            "this Role has no behavior graph",
            hint="Declare edges with @role.edge or in spec.template.behavior",
            code="invalid_behavior",
        )


@dataclass(slots=True, eq=False)
class DeclaredEdge:
    """One `@role.edge`."""

    source: str
    target: str
    weight: float
    cooldown_turns: int
    cooldown_seconds: int
    subgraph: str
    """Empty: the only one, or the one that has the nodes."""
    declared_at: tuple[str, int]
    """File and line."""
    function: Callable[[Any], bool] | None = None
    """None: it may be taken on every message."""
    name: str = ""
    """Of its predicate, among the Role's hooks."""


def cooldown_of(cooldown: int | timedelta) -> tuple[int, int]:
    """Turns and seconds: a number is of turns, a timedelta of time.

    >>> cooldown_of(2), cooldown_of(timedelta(minutes=5))
    ((2, 0), (0, 300))
    """
    if isinstance(cooldown, timedelta):
        turns, seconds = 0, int(cooldown.total_seconds())
    elif isinstance(cooldown, int) and not isinstance(cooldown, bool):
        turns, seconds = cooldown, 0
    else:
        turns = seconds = -1
    if turns < 0 or seconds < 0:
        raise LogicError("a cooldown is a number of turns, or a timedelta", hint="cooldown=2", code="invalid_behavior")
    return turns, seconds
