"""A turn run again on what was recorded does the same, and what does not is named."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rolehost import ModelFailed, Role, State, Turn
from rolehost_api.link.messages import INTERRUPTED, CallModel, Commit, Degraded, ModelResult, Say, StartTurn
from rolehost_api.wire import HeardPart
from rolehost_runtime.core.engine import TurnEngine
from rolehost_runtime.core.export import decode_line, encode_line, exported, recorded
from rolehost_runtime.core.patch import apply
from rolehost_runtime.core.record import JournalEntry, TurnRecord
from rolehost_runtime.core.rerun import Differs, Same, Unchecked, Verdict, rerun
from rolehost_runtime.core.safety.guards import Decision


class Tale(State):
    dragons: int = 0
    luck: float = 0.0
    hour: str = ""


def storyteller(
    *, twice: bool = False, prefix: str = "", step: int = 1, luck: Callable[[Turn[Tale]], float] | None = None
) -> Role[Tale]:
    role = Role("storyteller", state=Tale)

    @role.on_message
    async def answer(t: Turn[Tale]) -> None:
        if prefix:
            await t.reply(prefix)
        t.state.dragons += step
        t.state.luck = luck(t) if luck else t.rng.random()
        t.state.hour = t.now.isoformat()
        if twice:
            await t.ask("Is it a story?")
        try:
            await t.reply(t.ask())
        except ModelFailed:
            await t.reply("I have no words.")

    @role.on_interrupt
    def cut(t: Turn[Tale]) -> None:
        t.state.dragons += 100

    return role


def play(role: Role[Any], turn: int, state: dict[str, Any], *, text: str = "Once.", heard: int | None = None,
         error: str = "", first: bool = False) -> TurnRecord:  # fmt: skip
    """The record that a gateway would keep of one turn."""
    start = StartTurn(
        session="s", session_id="s", turn=turn, version=turn - 1, message=f"m{turn}", user="u-17",
        now_ms=1_730_000_000_000 + turn, rng_seed=turn * 7, deadline_ms=1,
        first=first,
    )  # fmt: skip
    engine = TurnEngine(role, start, state, max_state_bytes=65_536)
    said, journal = "", []
    out = engine.begin()
    while True:
        for effect in out:
            if isinstance(effect, Say):
                said += effect.text
                journal.append(JournalEntry(index=effect.index, kind="say"))
        end = out[-1]
        if not isinstance(end, CallModel):
            break
        fails = error or (INTERRUPTED if heard is not None and end.stream else "")
        said += text if end.stream else ""
        result = ModelResult(index=end.index, text=text, error=fails, heard=heard if fails == INTERRUPTED else None)
        journal.append(JournalEntry(index=end.index, kind="call_model", outcome=text, error=fails))
        out = engine.resume(result)
    assert isinstance(end, Commit)
    return TurnRecord(
        log_id="l", epoch=1, turn=turn, seq_first=2 * turn - 1, seq_count=2, version=turn, now_ms=start.now_ms,
        at_ms=start.now_ms + 5, revision="storyteller-1", response_id=f"r{turn}", input=start.message,
        reply=said if heard is None else said[:heard], user="u-17", patch=end.patch, degraded=end.degraded,
        journal=tuple(journal), rng_seed=start.rng_seed, status="completed" if heard is None else "cancelled",
        heard=None if heard is None else HeardPart(chars=heard),
    )  # fmt: skip


def session(role: Role[Any], turns: int = 3, **more: Any) -> list[TurnRecord]:
    state: dict[str, Any] = {}
    records = []
    for number in range(1, turns + 1):
        records.append(play(role, number, state, **more))
        assert not records[-1].degraded
        state = apply(state, records[-1].patch, max_bytes=65_536)
    return records


def judged(role: Role[Any], records: list[TurnRecord]) -> list[Verdict]:
    """By way of an export, as a person would."""
    lines = [decode_line(encode_line(exported(record, "s"))) for record in records]
    return list(rerun(role, "s", [recorded(line) for line in lines]))  # type: ignore[arg-type]


@given(
    text=st.text(max_size=20),
    heard=st.none() | st.integers(0, 30),
    twice=st.booleans(),
    prefix=st.sampled_from(["", "Hm. "]),
    error=st.sampled_from(["", "model_unavailable"]),
)
def test_the_same_logic_does_the_same(text: str, heard: int | None, twice: bool, prefix: str, error: str) -> None:
    if twice and error:
        return  # the question that is not the reply fails the hook: another test's business
    role = storyteller(twice=twice, prefix=prefix)
    records = session(role, text=text, heard=heard, error=error)
    assert judged(role, records) == [Same(1), Same(2), Same(3)]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (storyteller(prefix="Well. "), "effects"),
        (storyteller(twice=True), "effects"),
        (storyteller(step=2), "state"),
        (storyteller(luck=lambda t: 0.5), "state"),
    ],
)
def test_other_logic_is_found_at_its_first_turn_that_does_otherwise(other: Role[Any], what: str) -> None:
    verdicts = judged(other, session(storyteller()))
    assert len(verdicts) == 1
    assert isinstance(verdicts[0], Differs)
    assert (verdicts[0].turn, verdicts[0].what) == (1, what)


def test_other_words_are_another_reply_and_both_are_shown() -> None:
    (verdict,) = judged(storyteller(prefix="So. "), session(storyteller(prefix="Hm. ")))
    assert verdict == Differs(1, "reply", "Hm. Once.", "So. Once.")


def test_a_hook_that_fails_now_is_named_with_its_place() -> None:
    def unlucky(t: Turn[Tale]) -> float:
        raise ZeroDivisionError

    (verdict,) = judged(storyteller(luck=unlucky), session(storyteller()))
    assert isinstance(verdict, Differs)
    assert verdict.what in ("effects", "left out")


def test_what_the_record_does_not_hold_is_said_and_the_rest_is_checked() -> None:
    role = storyteller()
    one, two, three = session(role)
    digest = JournalEntry(index=0, kind="call_model", outcome="sha256:" + "a" * 64)
    verdicts = judged(role, [replace(one, journal=(digest,)), replace(two, joined=("c-9",)), three])
    assert [type(verdict) for verdict in verdicts] == [Unchecked, Unchecked, Same]


def test_turns_that_guards_answered_are_passed_over_and_the_session_begins_behind_them() -> None:
    role = Role("storyteller", state=Tale)

    @role.on_start
    def start(t: Turn[Tale]) -> None:
        t.state.dragons = 7

    @role.on_message
    async def answer(t: Turn[Tale]) -> None:
        await t.reply(t.ask())

    record = play(role, 1, {})
    blocked = replace(
        record,
        status="filtered",
        patch=(),
        journal=(),
        reply="No.",
        finish_reason="content_filter",
        decisions=(Decision("house", "input", "Other", "block"),),
    )
    verdicts = judged(role, [blocked, play(role, 2, {}, first=True)])
    assert isinstance(verdicts[0], Unchecked)
    assert verdicts[1] == Same(2)


def test_what_a_guard_changed_of_an_answer_is_checked_and_of_what_the_logic_said_is_not() -> None:
    changed = (Decision("house", "output", "Other", "replace"),)
    answered = replace(play(storyteller(), 1, {}, text="*** Once."), decisions=changed)
    assert judged(storyteller(), [answered]) == [Same(1)]
    (verdict,) = judged(
        storyteller(prefix="Damn. "), [replace(play(storyteller(prefix="Damn. "), 1, {}), decisions=changed)]
    )
    assert isinstance(verdict, Unchecked)
    assert "a guard changed" in verdict.why


def digested(record: TurnRecord) -> TurnRecord:
    """As it is kept where the answers are large."""
    return replace(
        record,
        journal=tuple(
            replace(entry, outcome=f"sha256:{sha256(entry.outcome.encode()).hexdigest()}")
            if entry.kind == "call_model"
            else entry
            for entry in record.journal
        ),
    )


@pytest.mark.parametrize("text", ["", "Once.", "从前，有一条龙🐉" * 9_000])
def test_an_answer_that_was_kept_as_a_digest_is_known_where_it_was_replied(text: str) -> None:
    role = storyteller(prefix="Listen: ")
    record = digested(play(role, 1, {}, text=text))
    assert judged(role, [record]) == [Same(1)]
    (other,) = judged(storyteller(prefix="Listen: ", step=2), [record])
    assert isinstance(other, Differs)
    assert other.what == "state"
    (silent,) = judged(storyteller(), [record])
    assert isinstance(silent, Differs)
    assert silent.what == "effects"
    (else_said,) = judged(storyteller(prefix="Hear: "), [record])
    assert isinstance(else_said, Differs)
    assert (else_said.what, else_said.now) == ("reply", "Hear: ")


def test_an_answer_that_only_the_logic_saw_stays_unknown() -> None:
    role = storyteller(twice=True)
    (verdict,) = judged(role, [digested(play(role, 1, {}, text="Yes."))])
    assert isinstance(verdict, Same), "the same words were replied after it"

    asking = Role("asking", state=Tale)

    @asking.on_message
    async def count(t: Turn[Tale]) -> None:
        t.state.dragons = len(await t.ask("How many?"))
        await t.reply("I know.")

    (verdict,) = judged(asking, [digested(play(asking, 1, {}, text="Yes."))])
    assert isinstance(verdict, Unchecked)
    assert "digest" in verdict.why


def test_of_an_answer_that_was_cut_short_the_digest_is_of_more_than_was_replied() -> None:
    role = storyteller()
    (verdict,) = judged(role, [digested(play(role, 1, {}, text="Once upon", heard=4))])
    assert isinstance(verdict, Unchecked)


def test_a_hook_that_a_clock_stopped_is_not_called_a_difference() -> None:
    role = storyteller()
    one, two = session(role, 2)
    stopped = replace(one, degraded=(Degraded("answer", "hook_deadline", "story.py:3"),))
    assert [type(verdict) for verdict in judged(role, [stopped, two])] == [Unchecked, Same]
