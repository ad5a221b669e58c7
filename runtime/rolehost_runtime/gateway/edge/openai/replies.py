"""A turn of ours as a chat completion, whole or in chunks. Pure."""

from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from rolehost_api import wire
from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.edge.openai.errors import OpenAIErrorAnswer, openai_error
from rolehost_runtime.gateway.edge.openai.requests import completion_id

DONE = b"data: [DONE]\n\n"


class PromptTokensDetails(Struct, frozen=True):
    cached_tokens: int


class CompletionUsage(Struct, frozen=True, kw_only=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AssistantMessage(Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(Struct, frozen=True, kw_only=True):
    index: int = 0
    message: AssistantMessage
    finish_reason: wire.FinishReason
    logprobs: None = None
    role: wire.ResponseDone | UnsetType = UNSET
    """Of several answers of a session: the last event of this one's turn. Its session_id is the session that goes on
    with this answer."""


class ChatCompletion(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    """Seconds since 1970."""
    model: str
    system_fingerprint: str
    """The revision that answered."""
    choices: tuple[Choice, ...]
    usage: CompletionUsage
    role: wire.ResponseDone
    """The turn's last event, as every other client is told it."""


class Delta(Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True, kw_only=True):
    index: int = 0
    delta: Delta = Delta()
    finish_reason: Literal["stop", "length", "content_filter", "error"] | None = None
    """`error`: of several answers this one failed, and the others go on. The chunk's `role` says what it failed with."""
    logprobs: None = None


class ChatCompletionChunk(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: tuple[ChunkChoice, ...]
    usage: CompletionUsage | UnsetType | None = UNSET
    role: wire.ServerFrame | UnsetType = UNSET
    """The event of ours that this chunk tells of, unless its text is all there is to it."""


def completion(model: str, session_id: str | None, done: wire.ResponseDone, *more: wire.ResponseDone) -> ChatCompletion:
    """`done` is the first answer's, which is the session's; `more` are those of its branches."""
    kept = bool(more) and session_id is not None
    return ChatCompletion(
        id=completion_id(done.response_id, session_id),
        created=done.ts // 1000,
        model=model,
        system_fingerprint=done.revision,
        choices=tuple(
            Choice(
                index=index,
                message=AssistantMessage(content=one.message),
                finish_reason=one.finish_reason,
                role=one if kept else UNSET,
            )
            for index, one in enumerate((done, *more))
        ),
        usage=usage_of(done.usage, *(one.usage for one in more)),
        role=done,
    )


def usage_of(*turns: wire.Usage) -> CompletionUsage:
    """
    >>> usage_of(wire.Usage(input_tokens=10, cached_tokens=8, output_tokens=5)).total_tokens
    15
    >>> usage_of(wire.Usage(input_tokens=10, output_tokens=5), wire.Usage(input_tokens=10, output_tokens=7)).total_tokens
    32
    """
    read, said = sum(usage.input_tokens for usage in turns), sum(usage.output_tokens for usage in turns)
    return CompletionUsage(
        prompt_tokens=read,
        completion_tokens=said,
        total_tokens=read + said,
        prompt_tokens_details=PromptTokensDetails(sum(usage.cached_tokens for usage in turns)),
    )


def _given_anew() -> Unavailable:
    return Unavailable(
        "the answer is given anew, and what was told of it cannot be taken back",
        hint="Ask again with the same Idempotency-Key for the whole of it",
        code="response_reset",
    )


@dataclass(slots=True)
class Head:
    """What all chunks of a stream share."""

    id: str = ""
    """Of the completion: the first answer's that began, which is the session's own."""
    at: int = 0
    began: bool = False
    """Something was said."""
    open: bool = False
    """The answer's status is on its way: what goes wrong from now on is told in it."""


def failure(error: wire.ErrorBody) -> bytes:
    """In the middle of a stream there is no status any more: their SDK raises what is told like this."""
    status = 503 if error.retryable else 500
    return b"data: " + wire.encode(OpenAIErrorAnswer(openai_error(error, status))) + b"\n\n"


class Chunks:
    """One turn as chunks of a stream. Of a session's events only those of its own turn are told.

    Nothing is said before there is text or the end: what goes wrong before that can be an HTTP status. Text that went
    out cannot be taken back: a turn that is given anew after it ends here with an error.
    Implements stream.Tongue.
    """

    def __init__(
        self,
        model: str,
        session_id: str | None,
        client_msg_id: str,
        *,
        include_usage: bool,
        index: int = 0,
        head: Head | None = None,
        alone: bool = True,
    ) -> None:
        """Not `alone`, it is the answer of this `index` among several: it tells no usage, and fails without the rest."""
        self._model, self._session_id, self._client_msg_id = model, session_id, client_msg_id
        self._include_usage, self._index, self._alone = include_usage, index, alone
        self.head = head or Head()
        self._fingerprint = ""
        self._created: wire.ResponseCreated | None = None
        self._response_id = ""
        self._chars = 0
        self._begun = False
        self._told_failure = False
        self.usage: wire.Usage | None = None
        """Once everything was said."""

    def said(self, event: wire.ServerFrame) -> bytes:
        if self._told_failure:
            return b""
        match event:
            case wire.SessionCreated():
                self._fingerprint = event.role
            case wire.ResponseCreated() if event.client_msg_id == self._client_msg_id:
                self._created = event
                self._answers(event.response_id, event.ts)
            case wire.TextDelta() if event.response_id == self._response_id:
                return self._text(event.delta)
            case wire.ResponseReset() if event.response_id == self._response_id and self._chars:
                return self._failed(wire.error_body(_given_anew()), event)
            case (
                wire.StateDelta()
                | wire.BehaviorTransition()
                | wire.MemoryCommitted()
                | wire.CustomEvent()
                | wire.RevisionChanged()
            ) if self._response_id and self.usage is None:
                return self._begin() + self.chunk(ChunkChoice(index=self._index), event)
            case wire.ResponseDone() if self._client_msg_id == event.client_msg_id:
                return self._done(event)
            case wire.Error():
                return self._failed(event.error, event)
        return b""

    def ended(self) -> bytes:
        return DONE if self.usage is not None else b""

    @property
    def over(self) -> bool:
        return self.usage is not None or self._told_failure

    def _answers(self, response_id: str, ts: int) -> None:
        self._response_id = response_id
        self.head.id = self.head.id or completion_id(response_id, self._session_id)
        self.head.at = self.head.at or ts // 1000

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = self.head.began = True
        return self.chunk(ChunkChoice(index=self._index, delta=Delta(role="assistant", content="")), self._created)

    def _text(self, text: str) -> bytes:
        self._chars += len(text)
        return self._begin() + self.chunk(ChunkChoice(index=self._index, delta=Delta(content=text)), None)

    def _done(self, done: wire.ResponseDone) -> bytes:
        if done.error is not None:
            return self._failed(done.error, done)
        self._answers(done.response_id, done.ts)
        rest = done.message[self._chars :]  # all of it, where the message was answered before
        said = self._begin() + (self._text(rest) if rest else b"")
        said += self.chunk(ChunkChoice(index=self._index, finish_reason=done.finish_reason), done)
        if self._include_usage and self._alone:
            said += self.chunk(None, None, usage_of(done.usage))
        self.usage = done.usage
        return said

    def _failed(self, error: wire.ErrorBody, event: wire.ServerFrame) -> bytes:
        if self.over or not (self.head.began or self.head.open):
            return b""
        self._told_failure = True
        if self._alone:
            return failure(error)
        told = wire.Error(session_id=event.session_id, seq=None, ts=event.ts, error=error)
        return self.chunk(ChunkChoice(index=self._index, finish_reason="error"), told)

    def chunk(
        self, choice: ChunkChoice | None, event: wire.ServerFrame | None, usage: CompletionUsage | None = None
    ) -> bytes:
        chunk = ChatCompletionChunk(
            id=self.head.id,
            created=self.head.at,
            model=self._model,
            system_fingerprint=self._fingerprint,
            choices=() if choice is None else (choice,),
            usage=usage if self._include_usage else UNSET,
            role=UNSET if event is None else event,
        )
        return b"data: " + wire.encode(chunk) + b"\n\n"
