"""Scenarios in the engine itself, in this process: no server, no clock, and a model that says what the scenario says.

The same seed gives the same course, whatever else is played.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from rolehost.evals.forms import ScenarioForm
from rolehost.evals.judging import Observed
from rolehost.evals.running import ScriptOver
from rolehost.testing import RoleSession, open_session
from rolehost_api.errors import BadRequest
from rolehost_runtime.core.merge import ALONE


class EngineTalk:
    """Implements running.Talk."""

    def __init__(self, session: RoleSession) -> None:
        self._session = session

    async def say(self, message: str) -> Observed:
        began = time.perf_counter()
        reply = self._session.say(message)
        took = 1000 * (time.perf_counter() - began)
        state = {name: value for name, value in self._session.raw.items() if not name.startswith("@")}
        alone = self._session.raw.get(ALONE)
        shared = self._session.shared if self._session.user else alone if isinstance(alone, dict) else {}
        return Observed(
            text=reply.text,
            latency_ms=took,
            error=reply.error or "",
            finish_reason=reply.finish_reason,
            transitions=tuple((step.subgraph, step.source, step.target) for step in reply.transitions),
            nodes=reply.nodes,
            memories=tuple(reply.memories),
            state=state,
            user_state=shared,
        )


class EnginePlayer:
    """Implements running.Player. `source`: a manifest or a .py file, with `:NAME` where it has several Roles."""

    def __init__(self, source: Path) -> None:
        self._source = source

    @asynccontextmanager
    async def open(self, scenario: ScenarioForm, seed: int) -> AsyncIterator[EngineTalk]:
        try:
            session = open_session(
                self._source, user=scenario.user, seed=seed, session_id=f"eval-{seed}", model=_script(scenario.model)
            )
        except ValueError as error:
            raise BadRequest(str(error), code="role_unusable") from None
        yield EngineTalk(session)


def _script(answers: list[str]) -> Callable[[str], str] | None:
    if not answers:
        return None
    left = iter(answers)

    def line(prompt: str) -> str:
        for answer in left:
            return answer
        raise ScriptOver(f"the model was asked more than {len(answers)} times", hint="Give the scenario more answers")

    return line
