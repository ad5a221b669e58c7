"""What a pod may say and when: every move that the tables lack closes the link."""

import pytest

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.messages import (
    Bound,
    CallModel,
    Commit,
    Draining,
    Evicted,
    Hello,
    LogBatch,
    Message,
    NeedState,
    Noticed,
    Probe,
    Say,
    TurnFailed,
)
from rolehost_runtime.gateway.link.rules import LinkStage, TurnRules, TurnStage, moved

SAY0, SAY1 = Say(index=0, text="a"), Say(index=1, text="b")
ASK0, ASK1 = (CallModel(index=index, segments=(), stream=True) for index in (0, 1))
COMMIT, FAILED, NEED = Commit(), TurnFailed(code="logic_error"), NeedState()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([COMMIT], id="nothing-to-say"),
        pytest.param([SAY0, SAY1, COMMIT], id="two-sayings"),
        pytest.param([NEED, SAY0, COMMIT], id="state-asked-for-first"),
        pytest.param([SAY0, ASK1, FAILED], id="given-up-while-the-model-is-asked"),
    ],
)
def test_a_turn_may_go(said: list[Message]) -> None:
    rules = TurnRules(state_left_out=True)
    for message in said:
        rules.heard(message)
    assert rules.stage is TurnStage.ENDED


@pytest.mark.parametrize(
    ("before", "message"),
    [
        pytest.param([], SAY1, id="the-first-effect-is-not-0"),
        pytest.param([SAY0], SAY0, id="the-same-effect-twice"),
        pytest.param([ASK0], SAY1, id="speaking-while-the-model-is-asked"),
        pytest.param([ASK0], ASK1, id="two-questions-at-once"),
        pytest.param([ASK0], COMMIT, id="commit-while-the-model-is-asked"),
        pytest.param([SAY0], NEED, id="the-state-asked-for-late"),
        pytest.param([NEED], NEED, id="the-state-asked-for-twice"),
        pytest.param([COMMIT], SAY0, id="speaking-after-the-commit"),
        pytest.param([COMMIT], COMMIT, id="two-commits"),
        pytest.param([FAILED], COMMIT, id="commit-after-giving-up"),
        pytest.param([], Hello(protocols=(1,), nonce=b"n" * 32, probe=Probe(gvisor=True, token=False)), id="hello"),
        pytest.param([], Evicted(sessions=()), id="the-link's-own-talk"),
    ],
)
def test_a_turn_may_not_go(before: list[Message], message: Message) -> None:
    rules = TurnRules(state_left_out=True)
    for earlier in before:
        rules.heard(earlier)
    stage = rules.stage
    with pytest.raises(ProtocolViolation):
        rules.heard(message)
    assert rules.stage is stage


def test_a_state_that_was_given_is_not_asked_for() -> None:
    with pytest.raises(ProtocolViolation):
        TurnRules(state_left_out=False).heard(NEED)


def test_an_answered_question_lets_the_turn_go_on() -> None:
    rules = TurnRules(state_left_out=False)
    rules.heard(ASK0)
    rules.answered(0)
    rules.heard(SAY1)
    assert rules.stage is TurnStage.RUNNING


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        pytest.param(LinkStage.DIALLED, Bound(hash=""), id="bound-before-hello"),
        pytest.param(
            LinkStage.GREETED,
            Hello(protocols=(), nonce=b"n" * 32, probe=Probe(gvisor=True, token=False)),
            id="hello-twice",
        ),
        pytest.param(LinkStage.GREETED, Bound(hash=""), id="bound-unasked"),
        pytest.param(LinkStage.BOUND, Bound(hash=""), id="bound-twice"),
        pytest.param(LinkStage.BINDING, LogBatch(request=1, lines=()), id="logs-before-bound"),
        pytest.param(LinkStage.BOUND, SAY0, id="an-effect-on-channel-0"),
        pytest.param(LinkStage.DIALLED, Draining(), id="draining-before-hello"),
    ],
)
def test_the_link_may_not_go(stage: LinkStage, message: Message) -> None:
    with pytest.raises(ProtocolViolation):
        moved(stage, message)


def test_a_piece_of_an_answer_is_noticed_once_and_only_where_it_was_shown() -> None:
    rules = TurnRules(state_left_out=False)
    with pytest.raises(ProtocolViolation):
        rules.heard(Noticed(index=0))
    rules.heard(CallModel(index=0, segments=(), stream=True))
    with pytest.raises(ProtocolViolation):
        rules.heard(Noticed(index=0))
    rules.shown(0)
    with pytest.raises(ValueError, match="on its way"):
        rules.shown(0)
    with pytest.raises(ProtocolViolation):
        rules.heard(Noticed(index=1))
    rules.answered(0)
    rules.heard(Noticed(index=0, stop=True))  # it crossed with the answer
    with pytest.raises(ProtocolViolation):
        rules.heard(Noticed(index=0))
    with pytest.raises(ValueError, match="on its way"):
        rules.shown(0)
