"""Whatever a session lived through and wherever its snapshot was taken: that and the rest make the same session."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from rolehost_api.link.messages import PatchOp
from rolehost_api.wire import HeardPart
from rolehost_runtime.core import session
from rolehost_runtime.core.record import Record, last_seq
from rolehost_runtime.core.session import Outcome, SessionFold
from rolehost_runtime.core.snapshot import decode, encode

PATCHES = st.lists(
    st.one_of(
        st.builds(PatchOp, st.just("add"), st.sampled_from(["/a", "/b"]), st.integers(0, 9) | st.text(max_size=3)),
        st.builds(PatchOp, st.just("incr"), st.just("/turns"), st.just(1)),
    ),
    max_size=2,
).map(tuple)


@dataclass(frozen=True)
class Turned:
    message: str
    reply: str
    patch: tuple[PatchOp, ...]
    cancelled: bool
    heard: int
    joined: bool
    urgent: bool


@dataclass(frozen=True)
class Amended:
    heard: int


@dataclass(frozen=True)
class TakenOver:
    """By another owner; with another name, where the store had forgotten something."""

    renamed: bool


STEPS = st.lists(
    st.one_of(
        st.builds(
            Turned, st.text(max_size=5), st.text(min_size=1, max_size=9), PATCHES, st.booleans(), st.integers(0, 9), st.booleans(), st.booleans()
        ),
        st.builds(Amended, st.integers(0, 8)),
        st.builds(TakenOver, st.booleans()),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip


@dataclass
class Lived:
    fold: SessionFold
    records: list[Record] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    """A snapshot after each record."""

    def durable(self, record: Record) -> None:
        self.records.append(record)
        self.taken.append(encode(self.fold.snapshot()))


def live(steps: list[Any]) -> Lived:
    lived = Lived(SessionFold("log-0", 1))
    for number, step in enumerate(steps):
        fold = lived.fold
        match step:
            case Turned():
                opened = fold.begin(
                    step.message, revision="cat-1", response_id=f"r{number}", rng_seed=1, now_ms=number, client_msg_id=f"c{number}"
                )  # fmt: skip
                if step.joined:
                    opened = opened.steered("and", f"j{number}")
                outcome = Outcome(
                    step.reply,
                    step.patch,
                    status="cancelled" if step.cancelled else "completed",
                    heard=HeardPart(chars=step.heard),
                    urgent=step.urgent,
                )
                record: Record = fold.propose(opened, outcome, now_ms=number, max_bytes=65_536)
                fold.committed()
                lived.durable(record)
            case Amended():
                amend = fold.amend(fold.response_id, HeardPart(chars=step.heard), now_ms=number) if fold.turn else None
                if amend is not None:
                    fold.amended()
                    lived.durable(amend)
            case TakenOver():
                log_id = f"log-{number}" if step.renamed else fold.log_id
                lived.fold = SessionFold.of(log_id, fold.epoch + 1, lived.records)
    return lived


@contextmanager
def bounds(past_turns: int, past_chars: int, seen: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "MAX_PAST_TURNS", past_turns)
        patch.setattr(session, "MAX_PAST_CHARS", past_chars)
        patch.setattr(session, "MAX_SEEN", seen)
        yield


WHOLE = (
    "log_id",
    "epoch",
    "turn",
    "seq",
    "version",
    "last_at_ms",
    "amends",
    "revision",
    "response_id",
    "state",
    "urgent",
    "past",
    "_seen",
)


@given(STEPS, st.integers(1, 6), st.integers(0, 60), st.integers(1, 8), st.data())
def test_a_snapshot_and_the_rest_make_what_the_whole_log_makes(
    steps: list[Any], past_turns: int, past_chars: int, seen: int, data: st.DataObject
) -> None:
    with bounds(past_turns, past_chars, seen):
        lived = live(steps)
        assume(lived.records)
        at = data.draw(st.integers(0, len(lived.records) - 1))
        log_id, epoch = lived.fold.log_id, lived.fold.epoch + 1
        whole = SessionFold.of(log_id, epoch, lived.records)
        snapshot = decode(lived.taken[at])
        needed = [record for record in lived.records if record.position >= (snapshot.past_from, 0)]
        assert snapshot.ends_with(needed)
        again = SessionFold.restored(log_id, epoch, snapshot, len(lived.taken[at]))
        for record in needed:
            (again.recall if last_seq(record) <= snapshot.seq else again.replay)(record)
        for name in WHOLE:
            assert getattr(again, name) == getattr(whole, name), name
        assert again.weight() == whole.weight()
        assert again.snapshot() == whole.snapshot()
        assert snapshot.past_from <= decode(lived.taken[-1]).past_from, "what was let go is never needed again"


@given(STEPS, st.data())
def test_a_snapshot_is_not_taken_for_one_of_a_log_that_went_another_way(steps: list[Any], data: st.DataObject) -> None:
    """The store went back in time, and another owner on from there: the same positions, other turns."""
    lived = live(steps)
    assume(lived.records)
    at = data.draw(st.integers(0, len(lived.records) - 1))
    snapshot, back = decode(lived.taken[at]), data.draw(st.integers(0, at))
    others = [replace(record, response_id=f"x{record.response_id}") for record in lived.records[back:]]
    same_turn = back and lived.records[back - 1].turn == snapshot.turn  # only how much of it was heard is another
    assert same_turn or not snapshot.ends_with([*lived.records[:back], *others])
    assert snapshot.ends_with(lived.records)
    assert not snapshot.ends_with([record for record in lived.records if last_seq(record) < snapshot.seq])
