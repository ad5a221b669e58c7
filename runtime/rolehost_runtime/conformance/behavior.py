"""What any BehaviorPolicy must do."""

import random
import time

import pytest

from rolehost_runtime.plugins.behavior import BehaviorPolicy, Choice, Facts, Option

MICROSECONDS = 2_000
"""A choice among 1,024 edges may take so long, at the median: it is made in every turn."""


class BehaviorPolicyConformance:
    """Override `make`."""

    def make(self) -> BehaviorPolicy:
        raise NotImplementedError("return your BehaviorPolicy")

    @pytest.mark.parametrize("seed", range(20))
    def test_it_names_an_option_that_there_is(self, seed: int) -> None:
        policy, dice = self.make(), random.Random(seed)  # noqa: S311 - cases, no secret
        for _ in range(50):
            choice = choice_of(dice)
            number = policy.choose(choice)
            assert type(number) is int
            assert 0 <= number < len(choice.options)

    def test_the_same_choice_has_the_same_answer(self) -> None:
        choices = [choice_of(random.Random(seed)) for seed in range(200)]  # noqa: S311
        policy, other = self.make(), self.make()
        first = [policy.choose(choice) for choice in choices]
        assert [policy.choose(choice) for choice in choices] == first, (
            "a turn that is run again comes to the same place"
        )
        assert [other.choose(choice) for choice in reversed(choices)] == first[::-1], "nothing is kept between turns"

    def test_it_bears_the_largest_graph(self) -> None:
        options = tuple(Option(f"N{number}", 1.0 + number, "") for number in range(1024))
        choice = Choice("main", "A", options, 1 << 63, 1, 0, None)
        policy, took = self.make(), []
        for _ in range(9):
            began = time.perf_counter_ns()
            policy.choose(choice)
            took.append(time.perf_counter_ns() - began)
        assert sorted(took)[4] < 1000 * MICROSECONDS

    def test_it_bears_weights_of_any_size(self) -> None:
        for weights in ((5e-324, 1e308), (1e308, 1e308), (0.1, 0.1, 0.1)):
            options = tuple(Option(f"N{place}", weight, "") for place, weight in enumerate(weights))
            assert 0 <= self.make().choose(Choice("main", "A", options, 12345, 1, 0, None)) < len(options)


def choice_of(dice: random.Random) -> Choice:
    options = tuple(
        Option(f"N{number}", dice.choice((0.25, 0.5, 1.0, 7.0)), dice.choice(("", "turn > 3")))
        for number in range(dice.randint(2, 6))
    )
    turn = dice.randint(1, 99)
    facts = Facts(message="hello", user="u-17", turn=turn, node="A", state={"score": dice.randint(0, 9)}, user_state={})
    return Choice("main", "A", options, dice.getrandbits(64), turn, 1_700_000_000_000, dice.choice((facts, None)))
