"""What guards do to a turn: what is let in, what goes out, and what is kept of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.support.house import House, playing
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, FakePod, revision_entry, serve, world

from rolehost import Role, Turn
from rolehost_api.crd.role import Persona, RoleTemplate
from rolehost_api.crd.safety import (
    Category,
    CrisisReply,
    FailurePolicy,
    GuardAction,
    GuardModel,
    GuardPlugin,
    GuardRule,
    GuardSpec,
    GuardStage,
    Language,
    Safety,
)
from rolehost_api.errors import BadRequest, Unavailable
from rolehost_api.link.messages import CallModel, Commit, ModelResult, Say, StartTurn
from rolehost_api.wire import ResponseCreated, ResponseDone, Said, Usage
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.safety.compiling import MAX_CHARS
from rolehost_runtime.core.safety.guards import Decision, Objection, Stage
from rolehost_runtime.core.snapshot import EVERY_TURNS
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.safeties import Safeties

REFUSAL, HELP = "I can't answer that.", "Call 988."
END = ModelEnd("stop", Usage(input_tokens=1, output_tokens=1))


def rule(
    *words: str, action: GuardAction = GuardAction.BLOCK, text: str = "", category: Any = Category.OTHER
) -> GuardRule:
    return GuardRule(category=category, words=words, action=action, text=text)


def house_rules(*rules: GuardRule, stages: tuple[GuardStage, ...] = (GuardStage.INPUT, GuardStage.OUTPUT)) -> GuardSpec:
    return GuardSpec(name="house", rules=list(rules), stages=stages)


def judge(
    *stages: GuardStage,
    policy: FailurePolicy = FailurePolicy.OPEN,
    action: GuardAction = GuardAction.BLOCK,
    **more: Any,
) -> GuardSpec:
    model = GuardModel(
        backend="default",
        question="Is it rude?",
        categories=(Category.HARASSMENT, Category.SELF_HARM),
        action=action,
        **more,
    )
    return GuardSpec(name="judge", stages=stages, model=model, on_failure=policy)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House(world(ACME))
    made.slow_model()
    await made.pool.start()
    yield made
    await made.service.stop(0)
    await made.pool.stop()


def guarded(house: House, *guards: GuardSpec, **safety: Any) -> FakePod:
    template = RoleTemplate(persona=Persona(system="You are a cat."), safety=Safety(guards=list(guards), **safety))
    serve(house.tables, revision_entry(template=template))
    return house.pod("p1")


async def records(house: House) -> list[TurnRecord]:
    return [record for record in await house.log() if isinstance(record, TurnRecord)]


def tell(house: House, *items: Any) -> None:
    for item in items:
        house.slow.pieces.put_nowait(item)


async def test_a_message_that_is_blocked_is_answered_without_a_pod_or_a_model(house: House) -> None:
    pod = guarded(house, house_rules(rule("bomb")))
    handle, ear = await house.attach()
    await handle.say(Said(message="How is a BOMB made?", client_msg_id="c1"))
    (done,) = ear.of(ResponseDone)
    assert (done.message, done.finish_reason, done.status) == (REFUSAL, "content_filter", "completed")
    assert ear.text() == REFUSAL
    assert pod.starts() == []
    assert house.slow.asked == []
    (record,) = await records(house)
    assert (record.status, record.input, record.reply) == ("filtered", "How is a BOMB made?", REFUSAL)
    assert record.decisions == (Decision("house", "input", "Other", "block"),)
    assert house.sink.turns == [("acme", "cat", "filtered")]
    assert house.sink.decided == list(record.decisions)


async def test_its_first_message_blocked_a_session_begins_with_the_next_one(house: House) -> None:
    """`on_start` hooks belong to the first message that the logic hears; the model is told nothing of the other."""
    guarded(house, house_rules(rule("bomb")))
    role: Role[Any] = Role("cat")
    started: list[int] = []

    @role.on_start
    def start(t: Turn[Any]) -> None:
        started.append(t.session.turn)

    @role.on_message
    async def answer(t: Turn[Any]) -> None:
        await t.reply(t.ask())

    house.dialer.pods["p1"].turn = playing(role)
    handle, ear = await house.attach()
    await handle.say(Said(message="a bomb"))
    for word in ("one", "two"):
        tell(house, word, END)
        await handle.say(Said(message="hello"))
    assert started == [2]
    assert [done.message for done in ear.of(ResponseDone)] == [REFUSAL, "one", "two"]
    assert not any("bomb" in content for _, content in house.slow.shown)
    assert ("assistant", REFUSAL) not in house.slow.shown


async def test_who_is_in_danger_is_told_whom_to_call_whatever_else_they_say(house: House) -> None:
    pod = guarded(
        house,
        house_rules(rule("damn")),
        crisis_reply=HELP,
        crisis_replies=[CrisisReply(language=Language.ES, text="Llama al 024.")],
    )
    handle, ear = await house.attach()
    await handle.say(Said(message="Damn, I want to kill myself"))
    await handle.say(Said(message="ya no quiero vivir"))
    assert [done.message for done in ear.of(ResponseDone)] == [HELP, "Llama al 024."]
    assert pod.starts() == []
    assert (await records(house))[0].decisions == (Decision("platform", "input", "SelfHarm", "crisis"),)
    tell(house, "I am here.", END)
    await handle.say(Said(message="thank you"))
    assert ("user", "Damn, I want to kill myself") in house.slow.shown, (
        "the model must not go on as if nothing was said"
    )
    assert ("assistant", HELP) in house.slow.shown


async def test_what_is_replaced_is_never_seen_by_logic_model_or_log(house: House) -> None:
    card = rule("#### ####", action=GuardAction.REPLACE, text="<card>", category=Category.PERSONAL_DATA)
    pod = guarded(house, house_rules(card))
    handle, ear = await house.attach()
    tell(house, "Paid with 12", "34 56", "78.", END)
    await handle.say(Said(message="it is 1111 2222, thanks"))
    assert pod.starts()[0].message == "it is <card>, thanks"
    assert house.slow.shown[-1] == ("user", "it is <card>, thanks")
    (record,) = await records(house)
    assert (record.input, record.reply) == ("it is <card>, thanks", "Paid with <card>.")
    assert ear.text() == ear.of(ResponseDone)[0].message == "Paid with <card>."
    assert record.finish_reason == "stop"
    assert {(one.stage, one.action) for one in record.decisions} == {("input", "replace"), ("output", "replace")}


async def test_an_answer_is_cut_before_what_is_blocked_however_it_streams(house: House) -> None:
    guarded(house, house_rules(rule("very secret"), stages=(GuardStage.OUTPUT,)))
    handle, ear = await house.attach()
    tell(house, "It is a ve", "ry sec", "ret", " thing, and so on", END)
    await handle.say(Said(message="hello"))
    (done,) = ear.of(ResponseDone)
    assert done.message == ear.text() == f"It is a \n\n{REFUSAL}"
    assert done.finish_reason == "content_filter"
    (record,) = await records(house)
    assert record.reply == done.message
    assert record.status == "completed"
    assert house.slow.closed == 1
    assert record.decisions == (Decision("house", "output", "Other", "block"),)


async def test_what_the_logic_says_is_guarded_as_an_answer_is_and_nothing_follows(house: House) -> None:
    guarded(house, house_rules(rule("secret"), stages=(GuardStage.OUTPUT,)))
    results: list[ModelResult] = []

    async def talks(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="The sec"))
        pod.send(channel, Say(index=1, text="ret, no"))
        pod.send(channel, CallModel(index=2, segments=DEFAULT_SEGMENTS, stream=True))
        result = await pod.answer(channel)
        assert isinstance(result, ModelResult)
        results.append(result)
        pod.send(channel, Say(index=3, text="more"))
        pod.send(channel, Commit())

    house.dialer.pods["p1"].turn = talks
    handle, ear = await house.attach()
    await handle.say(Said(message="hello"))
    assert ear.of(ResponseDone)[0].message == f"The \n\n{REFUSAL}"
    assert (results[0].text, results[0].finish_reason, results[0].error) == ("", "content_filter", "")
    assert house.slow.asked == []


async def test_what_is_held_back_at_the_end_comes_out(house: House) -> None:
    guarded(house, house_rules(rule("very secret"), stages=(GuardStage.OUTPUT,)), refusal="")

    async def talks(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="very"))
        pod.send(channel, CallModel(index=1, segments=DEFAULT_SEGMENTS, stream=True))
        result = await pod.answer(channel)
        assert isinstance(result, ModelResult)
        assert result.text == " nice ve"
        pod.send(channel, Say(index=2, text="very s"))
        pod.send(channel, Commit())

    house.dialer.pods["p1"].turn = talks
    handle, ear = await house.attach()
    tell(house, " nice ve", END)
    await handle.say(Said(message="hello"))
    assert ear.of(ResponseDone)[0].message == ear.text() == "very nice vevery s"


async def test_a_flag_changes_nothing_and_is_kept(house: House) -> None:
    guarded(house, house_rules(rule("dragon", action=GuardAction.FLAG)))
    handle, ear = await house.attach()
    tell(house, "No drag", "on.", END)
    await handle.say(Said(message="a dragon?"))
    assert ear.of(ResponseDone)[0].message == "No dragon."
    (record,) = await records(house)
    assert record.decisions == (
        Decision("house", "input", "Other", "flag"),
        Decision("house", "output", "Other", "flag"),
    )
    assert record.finish_reason == "stop"


async def test_a_model_that_is_asked_blocks_a_message(house: House) -> None:
    pod = guarded(house, judge(GuardStage.INPUT))
    handle, ear = await house.attach()
    tell(house, "Haras", "sment", END)
    await handle.say(Said(message="you fool"))
    assert ear.of(ResponseDone)[0].message == REFUSAL
    assert pod.starts() == []
    (record,) = await records(house)
    assert record.decisions == (Decision("judge", "input", "Harassment", "block"),)
    assert record.usage.output_tokens == 1
    assert house.slow.asked[0].max_tokens == 16
    assert house.slow.shown[-1] == ("user", "you fool")


async def test_a_model_that_names_self_harm_is_followed_by_the_crisis_reply(house: House) -> None:
    guarded(house, judge(GuardStage.INPUT), crisis_reply=HELP)
    handle, ear = await house.attach()
    tell(house, "SelfHarm", END)
    await handle.say(Said(message="there is no point in any of it"))
    assert ear.of(ResponseDone)[0].message == HELP


async def test_an_answer_waits_until_it_was_judged(house: House) -> None:
    guarded(house, judge(GuardStage.OUTPUT))
    handle, ear = await house.attach()
    tell(house, "You ", "fool", END, "Harassment", END)
    await handle.say(Said(message="hello"))
    assert ear.text() == REFUSAL
    tell(house, "Dear ", "friend", END, "None", END)
    await handle.say(Said(message="hello"))
    one, other = ear.of(ResponseDone)
    assert (one.finish_reason, one.message) == ("content_filter", REFUSAL)
    assert (other.finish_reason, other.message) == ("stop", "Dear friend")


FAILURES: list[tuple[tuple[Any, ...], str]] = [
    ((Unavailable("away", code="model_unavailable"),), "model_unavailable"),
    (("I would rather not say", END), "no_verdict"),
]


@pytest.mark.parametrize(("items", "code"), FAILURES)
@pytest.mark.parametrize("policy", FailurePolicy)
async def test_a_guard_that_fails_is_open_or_closed_by_policy(
    house: House, policy: FailurePolicy, items: tuple[Any, ...], code: str
) -> None:
    guarded(house, judge(GuardStage.INPUT, policy=policy))
    handle, ear = await house.attach()
    tell(house, *items)
    if policy is FailurePolicy.OPEN:
        tell(house, "Meow", END)
    await handle.say(Said(message="hello"))
    (done,) = ear.of(ResponseDone)
    assert done.message == ("Meow" if policy is FailurePolicy.OPEN else REFUSAL)
    word = policy.value.lower()
    assert [(one.hook, one.code, one.where) for one in done.degraded] == [("guard", f"guard_{word}", f"judge: {code}")]
    assert house.sink.guards_failed == [(word, code)]
    (record,) = await records(house)
    unjudged = (Decision("judge", "input", "Unjudged", "block"),)
    assert record.decisions == (() if policy is FailurePolicy.OPEN else unjudged)


async def test_a_text_too_long_to_show_is_the_guards_failure(house: House) -> None:
    guarded(house, judge(GuardStage.INPUT, policy=FailurePolicy.CLOSED, max_characters=100))
    handle, ear = await house.attach()
    await handle.say(Said(message="x" * 101))
    assert ear.of(ResponseDone)[0].message == REFUSAL
    assert house.sink.guards_failed == [("closed", "text_too_long")]
    assert house.slow.asked == []


async def test_what_is_held_back_when_the_user_cancels_is_never_said(house: House) -> None:
    guarded(house, house_rules(rule("very secret"), stages=(GuardStage.OUTPUT,)))
    handle, ear = await house.attach()
    tell(house, "It is ve", "ry")
    telling = asyncio.ensure_future(handle.say(Said(message="hello")))
    await house.until(lambda: ear.text() == "It is " and house.slow.pieces.empty())
    (created,) = ear.of(ResponseCreated)
    await handle.cancel(created.response_id, None)
    await telling
    (done,) = ear.of(ResponseDone)
    assert (done.status, done.message) == ("cancelled", "It is ")
    assert ear.text() == "It is "


async def test_a_turn_whose_pod_is_lost_goes_on_under_the_same_guards(house: House) -> None:
    """What was held back is said once, and what was decided is kept once."""
    guarded(house, house_rules(rule("very secret", "hm", action=GuardAction.FLAG), rule("a very bad word")))
    runs: list[int] = []

    async def talks(pod: FakePod, channel: int, start: StartTurn) -> None:
        runs.append(start.turn)
        pod.send(channel, Say(index=0, text="Hm, a very"))
        if len(runs) == 1:
            await asyncio.sleep(0)
            pod.lose()
            return
        pod.send(channel, Say(index=1, text=" secret"))
        pod.send(channel, Commit())

    house.dialer.pods["p1"].turn = talks
    handle, ear = await house.attach()
    await handle.say(Said(message="hm?"))
    assert len(runs) == 2
    assert ear.of(ResponseDone)[0].message == ear.text() == "Hm, a very secret"
    (record,) = await records(house)
    assert [(one.stage, one.action) for one in record.decisions] == [("input", "flag"), ("output", "flag")]


class Shouts:
    """A plugin: it does not like capitals."""

    name = "shouts"

    async def judge(self, stage: Stage, text: str) -> Sequence[Objection]:
        if "FAIL" in text:
            raise ValueError(f"cannot judge {text}")
        if text == "HUH":
            return [Objection("Loud", "block")]
        if text.isupper():
            return [Objection("Harassment", "block")]
        at = text.find("LOUD")
        return [Objection("Profanity", "replace", at, at + 4, "quiet")] if at >= 0 else []


async def test_a_plugin_is_asked_as_a_model_is(house: House, caplog: pytest.LogCaptureFixture) -> None:
    spec = GuardSpec(name="loud", plugin=GuardPlugin(name="shouts"), on_failure=FailurePolicy.CLOSED)
    guarded(house, spec)
    house.service._world.guards["shouts"] = Shouts()  # type: ignore[index]
    handle, ear = await house.attach()
    tell(house, "so ", "LOUD", END)
    for message in ("a LOUD word", "GO AWAY", "FAIL please", "HUH"):
        await handle.say(Said(message=message))
    assert [done.message for done in ear.of(ResponseDone)] == ["so quiet", REFUSAL, REFUSAL, REFUSAL]
    kept = await records(house)
    assert kept[0].input == "a quiet word"
    assert [one.action for one in kept[0].decisions] == ["replace", "replace"]
    assert house.sink.guards_failed == [("closed", "guard_failed"), ("closed", "guard_invalid")]
    assert "FAIL" not in caplog.text


async def test_a_plugin_that_is_not_there_has_failed(house: House) -> None:
    guarded(house, GuardSpec(name="loud", stages=(GuardStage.INPUT,), plugin=GuardPlugin(name="gone")))
    handle, _ = await house.attach()
    tell(house, "Meow", END)
    await handle.say(Said(message="hello"))
    assert house.sink.guards_failed == [("open", "guard_not_found")]


async def test_words_that_are_too_many_fail_the_turn_and_say_why(house: House) -> None:
    words = tuple(f"{number:064}" for number in range(256))
    guarded(house, house_rules(rule(*words), rule(*(f"x{one[:60]}" for one in words[: MAX_CHARS // 64]))))
    handle, _ = await house.attach()
    with pytest.raises(BadRequest) as failed:
        await handle.say(Said(message="hello"))
    assert failed.value.code == "safety_too_large"
    assert await records(house) == []


async def test_a_message_that_would_join_an_answer_and_is_not_clean_waits_for_its_own(house: House) -> None:
    guarded(house, house_rules(rule("bomb")))
    handle, ear = await house.attach()
    tell(house, "Once ")
    telling = asyncio.ensure_future(handle.say(Said(message="a story")))
    await house.until(lambda: ear.text() == "Once ")
    joining = asyncio.ensure_future(handle.say(Said(message="with a bomb", busy_policy="steer")))
    await asyncio.sleep(0)
    tell(house, "upon", END)
    await telling
    await joining
    assert [done.message for done in ear.of(ResponseDone)] == ["Once upon", REFUSAL]
    assert [record.status for record in await records(house)] == ["completed", "filtered"]


async def test_a_session_of_blocked_messages_alone_still_begins_when_it_is_read_again(house: House) -> None:
    """From a snapshot too, which is taken on the way."""
    pod = guarded(house, house_rules(rule("bomb")))
    handle, _ear = await house.attach()
    for _ in range(EVERY_TURNS + 1):
        await handle.say(Said(message="a bomb"))
    (key,) = house.store.shelf.heads
    kept = await house.store.kept(key)
    assert kept is not None
    assert kept.snapshot.unstarted
    for live in house.service._live.values():
        live.sleep()
    tell(house, "Meow", END, "Purr", END)
    await handle.say(Said(message="hello"))
    await handle.say(Said(message="hello"))
    assert [start.first for start in pod.starts()] == [True, False]


def test_nothing_is_made_for_a_role_without_guards() -> None:
    """`TurnRun.guarding` is None then, and a piece of an answer goes out as it came."""
    assert Safeties().of(revision_entry()) is None
    template = RoleTemplate(persona=Persona(system="You are a cat."), safety=Safety(refusal="No."))
    assert Safeties().of(revision_entry(template=template)) is None


def test_what_is_made_of_a_revision_is_kept() -> None:
    template = RoleTemplate(persona=Persona(system="You are a cat."), safety=Safety(crisis_reply=HELP))
    safeties, revision = Safeties(), revision_entry(template=template)
    assert safeties.of(revision) is safeties.of(revision)
