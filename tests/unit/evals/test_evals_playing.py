"""Scenarios are played as often as is said, so many at once, and what comes of them is counted."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rolehost.cli import main
from rolehost.client.errors import Unreachable
from rolehost.evals.counting import Result, Run, wilson
from rolehost.evals.forms import EvalForm, ExpectForm, JudgeForm, MemoryForm, ScenarioForm, TransitionForm, TurnForm
from rolehost.evals.judging import Observed, faults
from rolehost.evals.live import LivePlayer
from rolehost.evals.reporting import as_json, as_junit, lines
from rolehost.evals.running import play
from rolehost_api.errors import BadRequest, Unavailable

TUTOR = Path(__file__).parents[3] / "examples" / "tutor"
SEEN = Observed(
    text="The Moon pulls.",
    latency_ms=120,
    transitions=(("main", "A", "B"),),
    nodes={"main": "B"},
    memories=(("rel", "Ann → fears → spiders"),),
    state={"asked": 1, "on": True},
    user_state={"mood": "calm"},
)


@pytest.mark.parametrize(
    "expect",
    [
        ExpectForm(contains=["Moon", "pulls"], notContains=["sun"], regex=[r"\bMoon\b"]),
        ExpectForm(transition=TransitionForm(target="B"), node="B"),
        ExpectForm(transition=TransitionForm("A", "B", "main")),
        ExpectForm(memory=MemoryForm("rel", "spiders")),
        ExpectForm(state={"asked": 1, "on": True, "mood": "calm", "never": 0, "empty": []}),
        ExpectForm(latencyMs=120, finishReason="stop"),
    ],
)
def test_what_is_so_has_no_fault(expect: ExpectForm) -> None:
    assert faults(expect, SEEN) == []


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        (ExpectForm(contains=["moon"]), "without 'moon'"),
        (ExpectForm(notContains=["MOON"]), "with 'MOON'"),
        (ExpectForm(regex=["^pulls"]), "does not match"),
        (ExpectForm(transition=TransitionForm("B", "A")), "went A → B, expected B → A"),
        (ExpectForm(transition=TransitionForm("A", "B", "mood")), "expected A → B"),
        (ExpectForm(node="A"), "is in B, expected A"),
        (ExpectForm(memory=MemoryForm("long", "spiders")), "nothing long"),
        (ExpectForm(state={"asked": 2}), "state.asked is 1, expected 2"),
        (ExpectForm(state={"asked": True}), "state.asked is 1, expected True"),
        (ExpectForm(state={"never": 1}), "has no never"),
        (ExpectForm(latencyMs=100), "took 120 ms"),
        (ExpectForm(finishReason="length"), "finished by stop"),
        (ExpectForm(error="busy"), "did not fail"),
    ],
)
def test_what_is_not_so_is_told(expect: ExpectForm, said: str) -> None:
    (fault,) = faults(expect, SEEN)
    assert said in fault


class Parrot:
    """Says the message again; `fail` fails the turn, `lost` there is none."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.open_now = self.most = 0

    @asynccontextmanager
    async def open(self, scenario: ScenarioForm, seed: int) -> AsyncIterator["Parrot"]:
        self.seeds.append(seed)
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        await asyncio.sleep(0)
        yield self
        self.open_now -= 1

    async def say(self, message: str) -> Observed:
        await asyncio.sleep(0)
        if message == "lost":
            raise Unavailable("gone", code="pod_lost")
        return Observed(error="hook_failed") if message == "fail" else Observed(text=message)


def scenario(name: str, *turns: tuple[str, ExpectForm], **more: Any) -> ScenarioForm:
    return ScenarioForm(name=name, turns=[TurnForm(say, expect) for say, expect in turns], **more)


async def test_each_repeat_has_a_seed_of_its_own_and_no_more_are_played_at_once_than_may() -> None:
    parrot = Parrot()
    one = scenario("one", ("hi", ExpectForm(contains=["hi"])))
    other = scenario("other", ("hi", ExpectForm(contains=["ho"])), repeats=2)
    runs = await play(EvalForm(role="r", scenarios=[one, other], repeats=5, atOnce=3, seed=40), parrot)
    assert [(run.scenario, run.seed, run.passed) for run in runs] == [
        *(("one", seed, True) for seed in range(40, 45)),
        *(("other", seed, False) for seed in range(40, 42)),
    ]
    assert parrot.most == 3
    assert runs[-1].faults == ("turn 1: the reply is 'hi', without 'ho'",)


async def test_a_turn_that_fails_ends_its_run_and_no_other() -> None:
    wanted = ExpectForm(contains=["x"])
    runs = await play(
        EvalForm(
            role="r",
            scenarios=[
                scenario("fails", ("fail", wanted), ("hi", wanted)),
                scenario("may fail", ("fail", ExpectForm(error="hook_failed")), ("x", wanted)),
                scenario("is lost", ("x", wanted), ("lost", wanted)),
            ],
        ),
        Parrot(),
    )
    assert runs[0].faults == ("turn 1: the turn failed: hook_failed",)
    assert runs[1].faults == ()
    assert len(runs[2].faults) == 1
    assert runs[2].faults[0].startswith("turn 2: gone")


async def test_a_judge_is_shown_the_conversation_and_its_mark_counts() -> None:
    shown: list[str] = []

    async def judge(system: str, conversation: str) -> str:
        assert "Says hello." in system
        shown.append(conversation)
        return ["8", "3", "good"][len(shown) - 1]

    rubric = ExpectForm(judge=JudgeForm("Says hello."))
    turns = [("a", rubric), ("b", rubric), ("c", rubric)]
    (run,) = await play(EvalForm(role="r", scenarios=[scenario("one", *turns)]), Parrot(), judge)
    assert run.faults == ("turn 2: the judge gave 3, 7 would pass", "turn 3: the judge gave no mark")
    assert shown[1].startswith("User: a\nAssistant: a\nUser: b")
    with pytest.raises(BadRequest) as refused:
        await play(EvalForm(role="r", scenarios=[scenario("one", *turns)]), Parrot())
    assert refused.value.code == "no_judge"


@given(st.integers(1, 2000).flatmap(lambda runs: st.tuples(st.integers(0, runs), st.just(runs))))
def test_wilsons_interval_is_where_the_score_test_does_not_refuse(counts: tuple[int, int]) -> None:
    """Its bounds are the rates whose distance from what was seen is z standard errors, by their own error."""
    passed, runs = counts
    rate, z = passed / runs, 1.959964
    low, high = wilson(passed, runs)
    assert 0 <= low <= rate <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(rate - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / runs), rel=1e-6)


RESULT = Result("eval.yaml", "cat", [Run("a", 0, 7, (), 0.5), Run("a", 1, 8, ('turn 1: <"&\x00>',), 0.25)], 0.5)


def test_reports_say_the_same_to_people_and_machines() -> None:
    assert RESULT.good
    assert list(lines(RESULT))[-1] == (
        "eval.yaml: 1 of 2 runs passed, 50.0% (9.5% to 90.5% with 95 % confidence): good"
    )
    told = json.loads(as_json([RESULT]))
    (file,) = told["files"]
    assert told["passed"] is True
    assert (file["pass_rate"], file["runs"], file["interval_95"]) == (0.5, 2, [0.094531, 0.905469])
    assert file["scenarios"][0]["faults"][0]["seed"] == 8
    suite = ElementTree.fromstring(as_junit([RESULT]))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["a", "a [1]"]
    failure = suite[1][0]
    assert failure.text == 'turn 1: <"&\ufffd>'


def test_no_run_is_not_good() -> None:
    assert not Result("f", "r", [], 0.0).good


# ── the command ─────────────────────────────────────────────────────────────────────


def ran(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["eval", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_example_is_good_and_the_same_again() -> None:
    code, out, _ = ran(str(TUTOR / "eval.yaml"), "--report", "json")
    told = json.loads(out)
    assert (code, told["passed"], told["files"][0]["runs"]) == (0, True, 10)
    code, out, _ = ran(str(TUTOR / "eval.yaml"), "--repeats", "1", "--seed", "3")
    assert code == 0
    assert "2 of 2 runs passed" in out


FAILING = """\
role: {role}
scenarios:
- name: good
  turns: [{{say: hi, expect: {{node: Greet}}}}]
- name: bad
  turns: [{{say: hi, expect: {{node: Rest}}}}]
"""


@pytest.mark.parametrize(("rate", "code"), [("1", 1), ("0.5", 0), ("0.6", 1)])
def test_the_gate_is_as_high_as_it_is_set(tmp_path: Path, rate: str, code: int) -> None:
    file = tmp_path / "eval.yaml"
    file.write_text(FAILING.format(role=TUTOR / "role.yaml"))
    report = tmp_path / "report.xml"
    done = ran(str(file), "--min-pass-rate", rate, "--report", "junit", "-o", str(report))
    assert done[0] == code
    assert 'failures="1"' in report.read_text()


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("role: role.yaml\nscenarios: []\nx: 1", (), "[unknown_field]"),
        (FAILING.format(role="nowhere.yaml"), (), "not beside it"),
        (FAILING.format(role="cat"), (), "Give --url"),
        (FAILING.format(role="cat").replace("node: Rest", "judge: {rubric: x}"), ("--url", "http://x"), "--judge"),
    ],
)
def test_what_cannot_be_played_ends_with_two(tmp_path: Path, text: str, arguments: tuple[str, ...], said: str) -> None:
    file = tmp_path / "eval.yaml"
    file.write_text(text)
    code, out, err = ran(str(file), *arguments)
    assert code == 2
    assert said in out + err


def test_a_gateway_that_is_not_there_says_nothing_of_the_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def away(self: LivePlayer, scenario: ScenarioForm, seed: int) -> AsyncIterator[Parrot]:
        raise Unreachable("http://x does not answer")
        yield Parrot()

    monkeypatch.setattr(LivePlayer, "open", away)
    file = tmp_path / "eval.yaml"
    file.write_text(FAILING.format(role="cat"))
    code, out, err = ran(str(file), "--url", "http://x", "--min-pass-rate", "0")
    assert code == 2
    assert "does not answer" in out
    assert "2 runs were not played" in err


def test_a_model_that_is_asked_too_often_fails_the_run(tmp_path: Path) -> None:
    file = tmp_path / "eval.yaml"
    file.write_text(
        f"role: {TUTOR / 'role.yaml'}\nscenarios:\n- name: a\n  model: [one]\n"
        "  turns: [{say: hi, expect: {contains: [one]}}, {say: hi}]\n"
    )
    code, out, _ = ran(str(file))
    assert code == 1
    assert "turn 2: the model was asked more than 1 times" in out
