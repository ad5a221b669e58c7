"""Scenarios, played: some at a time, each in a session of its own, every repeat with a seed of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from rolehost.evals.counting import Run
from rolehost.evals.forms import EvalForm, ScenarioForm
from rolehost.evals.judging import Observed, faults, mark_of, question
from rolehost_api.errors import BadRequest, RolehostError

Judge = Callable[[str, str], Awaitable[str]]
"""A model that marks: what it is told and what it is shown → what it says. Raises RolehostError."""


class ScriptOver(RolehostError):
    """The model was asked more often than the scenario has answers."""

    code = "script_over"


class Talk(Protocol):
    """One session that is being played."""

    async def say(self, message: str) -> Observed:
        """One turn. Its failure is in what is observed; raises RolehostError where there is no turn to speak of."""


class Player(Protocol):
    """Where scenarios are played."""

    def open(self, scenario: ScenarioForm, seed: int) -> AbstractAsyncContextManager[Talk]:
        """A fresh session for the block. Raises RolehostError."""


async def play(
    form: EvalForm, player: Player, judge: Judge | None = None, told: Callable[[Run], None] = lambda run: None
) -> list[Run]:
    """Every scenario as often as it is to be repeated; the runs in the order of the file, whatever ended first.

    `told` hears of each run when it ends. Raises BadRequest where a scenario wants a judge and there is none.
    """
    if judge is None and (name := _judged(form)):
        raise BadRequest(
            f"the scenario {name!r} has a rubric, and no model to ask",
            hint="Give --judge, e.g. --judge openai/gpt-4o-mini",
            code="no_judge",
        )
    room = asyncio.Semaphore(form.atOnce)

    async def one(scenario: ScenarioForm, repeat: int) -> Run:
        async with room:
            run = await _run(scenario, repeat, form.seed + repeat, player, judge)
        told(run)
        return run

    wanted = [(one_, repeat) for one_ in form.scenarios for repeat in range(one_.repeats or form.repeats)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(scenario, repeat)) for scenario, repeat in wanted]
    return [task.result() for task in tasks]


def _judged(form: EvalForm) -> str:
    """The first scenario that wants a judge; empty: none does."""
    found = (one.name for one in form.scenarios for turn in one.turns if turn.expect.judge.rubric)
    return next(found, "")


async def _run(scenario: ScenarioForm, repeat: int, seed: int, player: Player, judge: Judge | None) -> Run:
    loop = asyncio.get_running_loop()
    began = loop.time()
    found: list[str] = []
    number = 0
    try:
        async with player.open(scenario, seed) as talk:
            conversation: list[tuple[str, str]] = []
            for number, turn in enumerate(scenario.turns, 1):
                seen = await talk.say(turn.say)
                conversation.append((turn.say, seen.text))
                found += [f"turn {number}: {fault}" for fault in faults(turn.expect, seen)]
                if turn.expect.judge.rubric and judge is not None and not seen.error:
                    asked = question(turn.expect.judge.rubric, conversation)
                    found += [
                        f"turn {number}: {fault}" for fault in _marked(await judge(*asked), turn.expect.judge.mark)
                    ]
                if seen.error and not turn.expect.error:
                    break
    except RolehostError as failed:
        found.append(f"turn {number}: {failed}" if number else str(failed))
    return Run(scenario.name, repeat, seed, tuple(found), loop.time() - began, played=number > 0)


def _marked(answer: str, least: int) -> list[str]:
    mark = mark_of(answer)
    if mark is None:
        return ["the judge gave no mark"]
    return [f"the judge gave {mark}, {least} would pass"] if mark < least else []
