"""Which of the edges that could be taken is taken, where a policy says so in place of their weights."""

from typing import NamedTuple, Protocol

from rolehost_runtime.core.dsl.expressions import Facts


class Option(NamedTuple):
    """An edge that may be taken now: its cooldown is past, its predicate holds, its target is not disabled."""

    target: str
    weight: float
    """Above 0."""
    why: str
    """Its predicate, for people; empty: always."""


class Choice(NamedTuple):
    subgraph: str
    node: str
    """Where the session stands."""
    options: tuple[Option, ...]
    """Two at least, in the order of declaration."""
    draw: int
    """64 bits of chance, the turn's own: the same whenever the turn is run again."""
    turn: int
    now_ms: int
    """When the turn began, in milliseconds since 1970."""
    facts: Facts | None
    """What expressions of the graph may ask: message, user, turn, node, state, user_state. Only to be read."""


class BehaviorPolicy(Protocol):
    def choose(self, choice: Choice) -> int:
        """The number of the option that is taken. The same choice has the same answer, always: a turn is run again where
        a worker or a gateway dies, and must come to the same place. No clock, no chance of its own, no I/O.

        One that raises, or names no option, is passed over: then the weights decide, and the turn says `policy_failed`.
        """


def chosen(policy: BehaviorPolicy, choice: Choice) -> int | None:
    """None: the policy failed.

    >>> class First:
    ...     def choose(self, choice): return 0
    >>> class Wrong:
    ...     def choose(self, choice): return len(choice.options)
    >>> two = Choice("main", "A", (Option("B", 1.0, ""), Option("C", 3.0, "")), 7, 1, 0, None)
    >>> chosen(First(), two), chosen(Wrong(), two)
    (0, None)
    """
    try:
        number = policy.choose(choice)
    except Exception:
        return None
    return number if type(number) is int and 0 <= number < len(choice.options) else None
