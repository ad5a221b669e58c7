"""A turn of ours as a chat completion, whole or in chunks. Pure."""

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
    finish_reason: wire.FinishReason | None = None
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


def completion(done: wire.ResponseDone, model: str, session_id: str | None) -> ChatCompletion:
    return ChatCompletion(
        id=completion_id(done.response_id, session_id),
        created=done.ts // 1000,
        model=model,
        system_fingerprint=done.revision,
        choices=(Choice(message=AssistantMessage(content=done.message), finish_reason=done.finish_reason),),
        usage=usage_of(done.usage),
        role=done,
    )


def usage_of(usage: wire.Usage) -> CompletionUsage:
    """
    >>> usage_of(wire.Usage(input_tokens=10, cached_tokens=8, output_tokens=5)).total_tokens
    15
    """
    return CompletionUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=PromptTokensDetails(usage.cached_tokens),
    )


def _given_anew() -> Unavailable:
    return Unavailable(
        "the answer is given anew, and what was told of it cannot be taken back",
        hint="Ask again with the same Idempotency-Key for the whole of it",
        code="response_reset",
    )


class Chunks:
    """One turn as chunks of a stream. Of a session's events only those of its own turn are told.

    Nothing is said before there is text or the end: what goes wrong before that can be an HTTP status. Text that went
    out cannot be taken back: a turn that is given anew after it ends here with an error.
    Implements stream.Tongue.
    """

    def __init__(self, model: str, session_id: str | None, client_msg_id: str, *, include_usage: bool) -> None:
        self._model, self._session_id, self._client_msg_id = model, session_id, client_msg_id
        self._include_usage = include_usage
        self._fingerprint = ""
        self._created: wire.ResponseCreated | None = None
        self._response_id = ""
        self._at = 0
        self._chars = 0
        self._over = False
        self._told_failure = False
        self.began = False
        """Something was said."""
        self.open = False
        """The answer's status is on its way: what goes wrong from now on is told in it."""

    def said(self, event: wire.ServerFrame) -> bytes:
        if self._told_failure:
            return b""
        match event:
            case wire.SessionCreated():
                self._fingerprint = event.role
            case wire.ResponseCreated() if event.client_msg_id == self._client_msg_id:
                self._created, self._response_id, self._at = event, event.response_id, event.ts // 1000
            case wire.TextDelta() if event.response_id == self._response_id:
                return self._text(event.delta)
            case wire.ResponseReset() if event.response_id == self._response_id and self._chars:
                return self._failed(wire.error_body(_given_anew()))
            case wire.StateDelta() | wire.RevisionChanged() if self._response_id and not self._over:
                return self._begin() + self._chunk(ChunkChoice(), event)
            case wire.ResponseDone() if self._client_msg_id == event.client_msg_id:
                return self._done(event)
            case wire.Error():
                return self._failed(event.error)
        return b""

    def ended(self) -> bytes:
        return DONE if self._over else b""

    def _begin(self) -> bytes:
        if self.began:
            return b""
        self.began = True
        return self._chunk(ChunkChoice(delta=Delta(role="assistant", content="")), self._created)

    def _text(self, text: str) -> bytes:
        self._chars += len(text)
        return self._begin() + self._chunk(ChunkChoice(delta=Delta(content=text)), None)

    def _done(self, done: wire.ResponseDone) -> bytes:
        if done.error is not None:
            return self._failed(done.error)
        self._response_id, self._at = done.response_id, self._at or done.ts // 1000
        rest = done.message[self._chars :]  # all of it, where the message was answered before
        said = self._begin() + (self._text(rest) if rest else b"")
        said += self._chunk(ChunkChoice(finish_reason=done.finish_reason), done)
        if self._include_usage:
            said += self._chunk(None, None, usage_of(done.usage))
        self._over = True
        return said

    def _failed(self, error: wire.ErrorBody) -> bytes:
        """In the middle of a stream there is no status any more: their SDK raises what is told like this."""
        if self._told_failure or not (self.began or self.open):
            return b""
        self._told_failure = True
        status = 503 if error.retryable else 500
        return b"data: " + wire.encode(OpenAIErrorAnswer(openai_error(error, status))) + b"\n\n"

    def _chunk(
        self, choice: ChunkChoice | None, event: wire.ServerFrame | None, usage: CompletionUsage | None = None
    ) -> bytes:
        chunk = ChatCompletionChunk(
            id=completion_id(self._response_id, self._session_id),
            created=self._at,
            model=self._model,
            system_fingerprint=self._fingerprint,
            choices=() if choice is None else (choice,),
            usage=usage if self._include_usage else UNSET,
            role=UNSET if event is None else event,
        )
        return b"data: " + wire.encode(chunk) + b"\n\n"
