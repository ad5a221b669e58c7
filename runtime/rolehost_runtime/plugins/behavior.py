"""What an author of a BehaviorPolicy needs.

    class Steady:
        rolehost_protocol = 1

        def choose(self, choice: Choice) -> int:
            return max(range(len(choice.options)), key=lambda number: choice.options[number].weight)

It is named in the group `rolehost.behavior_policies`, and chosen by a Role: `behavior: {policy: steady, …}`. It runs in the
sandbox, beside the tenant's logic, so it comes with the sandbox's image. Conformance:
`rolehost_runtime.conformance.behavior`.
"""

from rolehost_runtime.core.behavior.choosing import BehaviorPolicy, Choice, Option
from rolehost_runtime.core.behavior.draw import on_one_scale, pick
from rolehost_runtime.core.dsl.expressions import Facts

__all__ = ["BehaviorPolicy", "Choice", "Facts", "Option", "by_weight", "on_one_scale", "pick"]


def by_weight(choice: Choice) -> int:
    """As a graph without a policy chooses: each option with probability weight / sum of weights.

    >>> [by_weight(Choice("m", "A", (Option("B", 1.0, ""), Option("C", 3.0, "")), draw, 1, 0, None)) for draw in (0, 2**63)]
    [0, 1]
    """
    return pick(choice.draw, on_one_scale([one.weight for one in choice.options]))
