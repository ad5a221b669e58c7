"""Tokens, estimated and added up."""

from collections.abc import Iterable

from rolehost_api.wire import Usage
from rolehost_runtime.core.prompt import estimate


def estimated(shown: Iterable[str], heard: Iterable[str]) -> Usage:
    """Of a call of which nobody says what it cost: what the model was shown, and what was heard of its answer.

    >>> estimated(["a dragon"], ["Me", "ow"])
    Usage(input_tokens=2, cached_tokens=0, output_tokens=1, estimated=True)
    """
    return Usage(input_tokens=sum(map(estimate, shown)), output_tokens=estimate("".join(heard)), estimated=True)


def summed(one: Usage, other: Usage) -> Usage:
    """Of two calls together; estimated where one of them is.

    >>> summed(Usage(input_tokens=3, output_tokens=2), Usage(input_tokens=1, estimated=True))
    Usage(input_tokens=4, cached_tokens=0, output_tokens=2, estimated=True)
    """
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        estimated=one.estimated or other.estimated,
    )
