"""The paths that OpenAI's clients ask: models, and chat completions."""

import asyncio
import secrets

from fastapi import FastAPI, Request
from starlette.responses import Response

from rolehost_api import identity, wire
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.edge.auth import acting
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.handshake import Address, address, find_role, roles_of
from rolehost_runtime.gateway.edge.oneshot import LastDone
from rolehost_runtime.gateway.edge.openai.choices import Choices
from rolehost_runtime.gateway.edge.openai.errors import OpenAIErrorAnswer
from rolehost_runtime.gateway.edge.openai.models import Model, ModelList, model_of
from rolehost_runtime.gateway.edge.openai.replies import ChatCompletion, ChatCompletionChunk, completion
from rolehost_runtime.gateway.edge.openai.requests import Asked, ChatRequest, read
from rolehost_runtime.gateway.edge.openai.several import Several
from rolehost_runtime.gateway.edge.rooms import Json, Rooms
from rolehost_runtime.gateway.edge.stream import Stream, StreamAnswer
from rolehost_runtime.gateway.edge.views import answers, streams, takes
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import Scope

FIRST_WORD_SECONDS = 5.0
"""What goes wrong within them is an HTTP status. A model that needs longer for its first word finds the answer
begun, and comments kept it alive."""
DROPPED, SESSION = "x-role-dropped-params", "x-role-session-id"
MAX_KEY_CHARS = 128
TYPES = (ModelList, Model, ChatCompletion, ChatCompletionChunk, ChatRequest, OpenAIErrorAnswer)
"""For OpenAPI."""


def routes(app: FastAPI, rooms: Rooms) -> None:
    gate = rooms.gate
    tables = gate.tables

    @app.get("/v1/models", responses=answers(ModelList, error=OpenAIErrorAnswer), response_class=Json)
    async def list_models(request: Request) -> Response:
        """The Roles of your key's tenant, as OpenAI lists models."""
        mine = roles_of(tables.roles, rooms.caller(request, Scope.CHAT))
        return Json(ModelList(data=tuple(model_of(role, tables) for role in mine)))

    @app.get("/v1/models/{at:path}", responses=answers(Model, error=OpenAIErrorAnswer), response_class=Json)
    async def get_model(request: Request, at: str) -> Response:
        principal = rooms.caller(request, Scope.CHAT)
        return Json(model_of(find_role(tables.roles, principal, address(at)), tables))

    @app.post(
        "/v1/chat/completions",
        responses=streams(answers(ChatCompletion, error=OpenAIErrorAnswer)),
        openapi_extra=takes(ChatRequest),
        response_class=Json,
    )
    async def complete(request: Request) -> Response:
        """Say something to a Role in the words of OpenAI's chat completions.

        A request that names a session goes on with it: `session_id` in the body, `metadata.session_id`,
        X-Session-Id, X-OpenWebUI-Chat-Id, `conversation` or `previous_response_id`, the first of them that is there.
        Its log is the history then, and of `messages` only the last one is used. One that names none is answered
        from its `messages` alone, and nothing of it is kept. Of `n` answers the first is the session's; each other one is
        a session of its own, named in the choice's `role`, that stood where this one stood before the message. An `Idempotency-Key` is the message's `client_msg_id`.
        """
        principal = rooms.caller(request, Scope.CHAT)
        asked = read(await request.body(), request.headers)
        at = address(asked.model)
        find_role(tables.roles, principal, at)
        if asked.session_id is not None:
            identity.session_id(asked.session_id)
        may_act = Scope.ACT_AS_USER in principal.scopes
        principal = acting(principal, asked.user if may_act else None)
        said = wire.Said(
            message=asked.message,
            session_id=asked.session_id,
            client_msg_id=_message_id(request),
        )
        headers = _headers(asked, user_dropped=asked.user is not None and not may_act)
        if asked.stream:
            return await _streamed(gate, principal, at, asked, said, headers, request)
        done = await _whole(gate, principal, at, asked, said)
        return Json(completion(asked.model, asked.session_id, *done), headers=headers)


def _message_id(request: Request) -> str:
    """Two answers of one session are told apart by it."""
    given = request.headers.get("idempotency-key", "")
    return given if 0 < len(given) <= MAX_KEY_CHARS else f"oai-{secrets.token_hex(12)}"


def _headers(asked: Asked, *, user_dropped: bool) -> dict[str, str]:
    dropped = sorted({*asked.dropped, *(("user",) if user_dropped else ())})
    headers = {DROPPED: ", ".join(dropped)} if dropped else {}
    return headers | ({SESSION: asked.session_id} if asked.session_id is not None else {})


async def _whole(
    gate: Gate, principal: Principal, at: Address, asked: Asked, said: wire.Said
) -> list[wire.ResponseDone]:
    """How each answer ended. Raises what the first one to fail failed with. Turns go on if the caller is cancelled."""
    ears: dict[int, LastDone] = {}

    def listen(index: int, session_id: str) -> LastDone:
        return ears.setdefault(index, LastDone(said.client_msg_id))

    choices = Choices(gate, principal, at, said, asked.told, asked.choices, listen, lambda *_: None)
    await choices.begin()
    await asyncio.shield(gate.hub.start(choices.run()))
    if choices.failures:
        raise choices.failures[min(choices.failures)]
    done = [ears[index].done for index in range(asked.choices)]
    if None in done:
        raise RolehostError("the turn ended without an answer", code="no_answer")
    return [one for one in done if one is not None]


async def _streamed(
    gate: Gate,
    principal: Principal,
    at: Address,
    asked: Asked,
    said: wire.Said,
    headers: dict[str, str],
    request: Request,
) -> Response:
    n = asked.choices
    tongue = Several(asked.model, asked.session_id, said.client_msg_id or "", include_usage=asked.include_usage, n=n)
    stream = Stream(gate, principal, tongue, request)

    def listen(index: int, session_id: str) -> _Ear:
        tongue.listen(index, session_id)
        return _Ear(stream)

    choices = Choices(gate, principal, at, said, asked.told, n, listen, stream.tell)
    await choices.begin()
    stream.open()
    try:
        gate.hub.start(_turns(choices, stream))
        await _first_word(stream, choices)
        failure = stream.refused or next(iter(choices.failures.values()), None)
        if failure is not None and not (tongue.head.began and n == 1):
            raise failure
    except BaseException:
        stream.over()
        raise
    tongue.head.open = True
    return StreamAnswer(stream, headers)


async def _first_word(stream: Stream, choices: Choices) -> None:
    """Until something is said, or fails, or the time for that is over."""
    waiting = [asyncio.ensure_future(stream.first()), asyncio.ensure_future(choices.failing.wait())]
    try:
        await asyncio.wait(waiting, timeout=FIRST_WORD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


class _Ear:
    """Implements ports.Channel."""

    def __init__(self, stream: Stream) -> None:
        self.send, self.room = stream.put, stream.room


async def _turns(choices: Choices, stream: Stream) -> None:
    try:
        await choices.run()
    finally:
        stream.finish()
