"""Which trace a turn is, and whether it is told: W3C's traceparent, and sampling by the trace's own id."""

import os
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_RATIO_BITS = 56


@dataclass(frozen=True, slots=True)
class Parent:
    """The span of a client that a turn was asked for in."""

    trace_id: bytes
    span_id: bytes
    sampled: bool


PARENT: ContextVar[Parent | None] = ContextVar("parent", default=None)
"""Of the request that is being served, where it names one. It counts where the platform trusts its clients' traces."""


def parse(header: str) -> Parent | None:
    """A traceparent; None for whatever is none, which is ignored as W3C asks.

    >>> parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").sampled
    True
    >>> parse("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), parse("hello")
    (None, None)
    """
    found = _TRACEPARENT.fullmatch(header)
    if found is None or (header.startswith("00") and found[4]):
        return None
    trace_id, span_id = bytes.fromhex(found[1]), bytes.fromhex(found[2])
    return Parent(trace_id, span_id, bool(int(found[3], 16) & 1)) if any(trace_id) and any(span_id) else None


def of_headers(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """Of a request's headers, their names in lower case; two say nothing.

    >>> of_headers([(b"host", b"a"), (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")]).sampled
    False
    """
    found = [value for name, value in headers if name == b"traceparent"]
    return parse(found[0].decode("latin-1")) if len(found) == 1 else None


def fresh() -> tuple[bytes, int]:
    """A trace's id, and the number from which the ids of its spans are counted."""
    drawn = os.urandom(24)
    return drawn[:15] + bytes((drawn[15] | 1,)), int.from_bytes(drawn[16:], "big") >> 1 | 1


def span_id(base: int, number: int) -> bytes:
    """Of the span of that number; never all zeros.

    >>> span_id(1, 2).hex()
    '0000000000000003'
    """
    return (base + number).to_bytes(8, "big")


def chosen(trace_id: bytes, ratio: float) -> bool:
    """Whether a trace is among that part of all: by its last 56 bits, as OpenTelemetry's samplers decide it, so all
    parties choose the same ones.

    >>> chosen(bytes(16), 0.01), chosen(b"\\xff" * 16, 0.99), chosen(b"\\xff" * 16, 1.0)
    (True, False, True)
    """
    return ratio >= 1 or int.from_bytes(trace_id[9:], "big") < ratio * (1 << _RATIO_BITS)
