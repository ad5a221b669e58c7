"""Chance that is the same everywhere: integers only, no generator of a library, no hash seed.

A draw is 64 bits made of a turn's seed and the subgraph's name by SplitMix64 (Steele, Lea and Flood 2014, with
Vigna's constants). Weights are taken exactly: a float is a fraction over a power of two, so all of a subgraph's are
whole numbers on one scale.
"""

import hashlib
from collections.abc import Sequence

MASK = 0xFFFF_FFFF_FFFF_FFFF
_GAMMA = 0x9E37_79B9_7F4A_7C15


def splitmix(seed: int) -> int:
    """The first number that SplitMix64 gives for this seed.

    >>> splitmix(1234567)                                        # as Vigna's splitmix64.c has it
    6457827717110365317
    """
    x = (seed + _GAMMA) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return x ^ (x >> 31)


def salt_of(name: str) -> int:
    """What makes a subgraph's draws its own."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, person=b"rolehost graph").digest(), "big")


def drawn(seed: int, salt: int) -> int:
    """64 bits for one subgraph in the turn with this seed.

    >>> drawn(7, salt_of("main"))
    15172275657514046657
    """
    return splitmix(splitmix(seed) ^ salt)


def on_one_scale(weights: Sequence[float]) -> tuple[int, ...]:
    """The weights as whole numbers that stand to each other exactly as they do.

    >>> on_one_scale([1.0, 0.5, 0.25, 3]), on_one_scale([0.0])
    ((4, 2, 1, 12), (0,))
    """
    fractions = [float(weight).as_integer_ratio() for weight in weights]
    scale = max((below for _, below in fractions), default=1)
    return tuple(above * (scale // below) for above, below in fractions)


def pick(draw: int, weights: Sequence[int]) -> int:
    """Which of these is taken: number i with probability weights[i] / sum, off by 2⁻⁶⁴ at most.

    >>> [pick(draw, (1, 0, 3)) for draw in (0, 2**62 - 1, 2**62, 2**64 - 1)]
    [0, 0, 2, 2]
    """
    at = draw * sum(weights) >> 64
    for place, weight in enumerate(weights):
        if at < weight:
            return place
        at -= weight
    raise ValueError("nothing has any weight")
