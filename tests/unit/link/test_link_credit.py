"""Credit on the link: what may be sent, what is granted back, and who broke the rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.credit import Credits, cost
from rolehost_api.link.framing import Decoder, encode
from rolehost_api.link.messages import StateGiven, ToPod


@given(st.integers(0, 300_000))
def test_cost_is_what_the_receiver_counts(size: int) -> None:
    encoded = encode(1, StateGiven(version=1, state={"a": "x" * size}))
    ((_, _, counted),) = Decoder[ToPod](ToPod).feed(encoded)
    assert cost(encoded) == counted


@given(st.lists(st.integers(1, 100), max_size=200))
def test_a_sender_that_obeys_never_overruns_and_never_starves(sizes: list[int]) -> None:
    sender, receiver = Credits(window=200), Credits(window=200)
    for size in sizes:
        while not sender.sent(size):
            pytest.fail("everything was worked off, so there must be credit")
        receiver.received(size)
        if grant := receiver.worked(size):
            sender.granted(grant)


def test_an_overrun_is_a_violation() -> None:
    book = Credits(window=10)
    book.received(10)
    with pytest.raises(ProtocolViolation):
        book.received(1)


def test_a_grant_beyond_the_window_is_a_violation() -> None:
    book = Credits(window=10)
    assert book.sent(4)
    with pytest.raises(ProtocolViolation):
        book.granted(5)
    assert book.left == 6
