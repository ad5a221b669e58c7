"""A revision is warmed before its first session: a few turns that nobody asked for, on the way that users' turns go.

The operator asks for it in the Role's status; each gateway does it once for a rollout and says that it is done, however it
went. Such a turn is given by the same TurnRun as any other, with nothing around it: no log, no person, no memory, no guard,
no score, no metric of turns. What its pod wants done outside is refused with `warming_up`, and so is its commit. The
model's tokens are real, and are the tenant's.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.crd.rollout import WARM_UP_SECONDS
from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.link.messages import Fetch, Fetched, StartTurn
from rolehost_api.link.tools import ToolSpec
from rolehost_api.observed import WarmReport
from rolehost_runtime.core.lorebook.telling import Moment
from rolehost_runtime.core.session import OpenTurn
from rolehost_runtime.core.tooling import WARMING
from rolehost_runtime.core.warming import MAX_TOKENS, SESSION_ID, keys
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.link.bind import greetings_of
from rolehost_runtime.gateway.ports import ModelEnd, ModelProvider, ModelRequest, Toolbox
from rolehost_runtime.gateway.sessions.lore import telling
from rolehost_runtime.gateway.sessions.metrics import NoSink, outcome_of
from rolehost_runtime.gateway.sessions.reaching import Reaching
from rolehost_runtime.gateway.sessions.turn import TurnRun
from rolehost_runtime.gateway.sessions.world import World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Revisions that one gateway warms at the same time; the others wait, within their time."""
LATE = "late"
"""Outcome of a turn that was not over in time."""
Place = tuple[str, str]
"""Namespace and name of a Role."""


class Brief:
    """Implements ports.ModelProvider: another one's answers, of a few tokens."""

    def __init__(self, models: ModelProvider) -> None:
        self._models = models

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        most = min(MAX_TOKENS, request.max_tokens or MAX_TOKENS)
        async with aclosing(self._models.stream(backend, replace(request, max_tokens=most))) as items:  # type: ignore[type-var]
            async for item in items:
                yield item


class Shut:
    """Implements ports.Web and ports.Toolbox: what there is is told, for it is in the prompt; nothing is done."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox

    async def fetch(self, role: RoleEntry, permissions: Sequence[str], asked: Fetch, key: str = "") -> Fetched:
        return Fetched(index=asked.index, error=WARMING)

    async def offered(self, role: RoleEntry, revision: RevisionEntry) -> Sequence[ToolSpec]:
        return await self._toolbox.offered(role, revision)

    async def call(self, role: RoleEntry, revision: RevisionEntry, name: str, arguments: str, key: str) -> str:
        raise Unavailable("nothing is done outside while a revision is warmed", code=WARMING, retryable=False)


async def _is_known(_opened: OpenTurn) -> bool:
    """Nothing is noted of such a turn, and nothing of it goes out."""
    return True


class Warmer:
    def __init__(
        self, world: World, me: str, counted: Callable[[str], None], *, seconds: float = WARM_UP_SECONDS
    ) -> None:
        """`me`: this gateway's name. `counted` is told each turn's outcome: `completed`, `late` or a stable code."""
        self._world, self._me, self._counted, self._seconds = world, me, counted, seconds
        self.changed: Callable[[], None] = lambda: None
        """Called where a report is new, or gone."""
        self._rollouts: dict[Place, str] = {}
        """That the Roles' statuses ask to be warmed."""
        self._done: set[Place] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._stopped = False

    def start(self) -> None:
        """From now on, do what Roles' statuses ask for."""
        self._world.tables.roles.listen(self._role_changed)
        for key, _ in self._world.tables.roles.items():
            self._role_changed(key)

    async def stop(self) -> None:
        """Give up what runs, and begin nothing more."""
        self._stopped = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def reports(self) -> tuple[WarmReport, ...]:
        """What this gateway is done with, of what is still waited for."""
        return tuple(
            WarmReport(namespace=namespace, role=role, rollout=self._rollouts[namespace, role])
            for namespace, role in sorted(self._done)
        )

    def _role_changed(self, key: tuple[str, ...]) -> None:
        namespace, name = key
        place, role = (namespace, name), self._world.tables.roles.get(namespace, name)
        asked = role.warming.rollout if role is not None and role.warming is not None else ""
        if self._rollouts.get(place, "") == asked:
            return
        self._rollouts.pop(place, None)
        if place in self._done:
            self._done.discard(place)
            self.changed()
        if role is not None and asked and not self._stopped:
            self._rollouts[place] = asked
            task = asyncio.create_task(self._warm(role, asked), name=f"warm {namespace}/{name}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _warm(self, role: RoleEntry, rollout: str) -> None:
        """All that this gateway does for one rollout. Nothing that happens here holds the rollout up."""
        outcomes: list[str] = []
        try:
            async with asyncio.timeout(self._seconds), self._room:
                await asyncio.gather(*(self._turn(role, *one, outcomes) for one in self._turns(role)))
        except TimeoutError:
            outcomes = outcomes or [LATE]
        for outcome in outcomes:
            self._counted(outcome)
        place = role.tenant.name, role.name
        revisions = ", ".join(role.warming.revisions) if role.warming else ""
        log.info("rollout %s of %s/%s: %s is warmed: %s", rollout, *place, revisions, ", ".join(outcomes) or "no turn")
        if self._rollouts.get(place) == rollout:
            self._done.add(place)
            self.changed()

    def _turns(self, role: RoleEntry) -> Iterable[tuple[RevisionEntry, str]]:
        """Each with a session's key that brings it to the pod that it is to warm."""
        tables, warming = self._world.tables, role.warming
        for name in warming.revisions if warming else ():
            revision = tables.revisions.get(role.tenant.name, name)
            if warming is None or revision is None or revision.tenant != role.tenant:
                continue
            pods = [pod.uid for pod in tables.pods.of(role.tenant, name)]
            stem = f"{role.tenant.uid}/{name}/{warming.rollout}/{self._me}"
            for key in keys(stem, pods, role.spec.rollout.warm_up.turns, self._me):
                yield revision, key

    async def _turn(self, role: RoleEntry, revision: RevisionEntry, key: str, outcomes: list[str]) -> None:
        """One turn, from its route to what it would commit; then it is given up."""
        try:
            call, _ = await self._run(role, revision, key).run()
            call.abort(WARMING)
            outcomes.append(outcome_of(None))
        except RolehostError as error:
            outcomes.append(outcome_of(error))
        except asyncio.CancelledError:
            outcomes.append(LATE)
            raise
        except Exception as error:  # a bug of ours: no rollout waits for it
            faults.internal(log, "warming a revision", error)
            outcomes.append(RolehostError.code)
        finally:
            self._world.links.release(key)

    def _run(self, role: RoleEntry, revision: RevisionEntry, key: str) -> TurnRun:
        world, template, message = self._world, revision.spec.template, role.spec.rollout.warm_up.message
        opened = OpenTurn(1, SESSION_ID, message, None, None, world.now_ms(), 0, revision.name)
        start = StartTurn(
            session="",
            session_id=SESSION_ID,
            turn=opened.turn,
            version=0,
            message=message,
            now_ms=opened.now_ms,
            rng_seed=opened.rng_seed,
            deadline_ms=1000 * role.spec.sessions.turn_timeout_seconds,
        )
        shut = Shut(world.toolbox)
        return TurnRun(
            role=role,
            revision=revision,
            session_key=key,
            start=start,
            past=(),
            emit=lambda text: None,
            tables=world.tables,
            links=world.links,
            models=Brief(world.models),
            sink=NoSink(),
            reaching=Reaching(shut, role, template, key, opened, _is_known),
            toolbox=shut,
            layouts=world.layouts,
            lore=telling(world.books, revision, (), Moment(1, opened.rng_seed, int(bool(greetings_of(revision))))),
        )
