"""Several rankings of the same things into one: reciprocal rank fusion. Scores need not be comparable."""

from collections.abc import Sequence

FLAT = 60
"""Of Cormack, Clarke and Büttcher: the larger, the less the first place counts over the second."""


def fused(rankings: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """Whatever any ranking has, best first, each with its score: the sum of 1 / (FLAT + its place), from 1 on.

    With two rankings a score is at most 2/61. What is equal keeps the order of the first ranking that has it.

    >>> [(name, round(score, 4)) for name, score in fused([["a", "b"], ["b", "c"]])]
    [('b', 0.0325), ('a', 0.0164), ('c', 0.0161)]
    >>> fused([]), fused([["a"]])
    ([], [('a', 0.01639344262295082)])
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for place, name in enumerate(dict.fromkeys(ranking), 1):
            scores[name] = scores.get(name, 0.0) + 1 / (FLAT + place)
    return sorted(scores.items(), key=lambda one: -one[1])
