"""What a client of OpenAI's chat completions asks for, and whose session it means. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from rolehost_api.errors import BadRequest, NotFound
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.gateway.edge.openai.messages import ChatMessage, conversation

MAX_MESSAGES = 4096
MAX_CHOICES = 8
"""Each is a turn, and of a session a copy of its log."""
MAX_DROPPED = 32
"""Parameters that are named as ignored; the rest are counted by nobody."""
RESPONSE = "chatcmpl-"
KNOWN = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "user", "session_id", "metadata", "conversation",
     "previous_response_id"}
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_NULL = msgspec.Raw(b"null")


class Metadata(Struct, frozen=True):
    session_id: str | None = None


class Conversation(Struct, frozen=True):
    id: str


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False


class ChatRequest(Struct, frozen=True, kw_only=True):
    """Other parameters are ignored, and named in the answer's header x-role-dropped-params."""

    model: str
    """A Role: name, tenant/name or name@revision."""
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    """How many answers, 1 to 8. The first is the session's; each other one begins a session of its own, that stands as
    this one stood before the message."""
    user: Annotated[str, Meta(max_length=256)] | None = None
    """Whose session it is, where the key has the scope act-as-user; else it does nothing."""
    session_id: str | None = None
    """The session to go on with; its log is the history then, and of `messages` the last one is said."""
    metadata: Metadata | None = None
    conversation: str | Conversation | None = None
    previous_response_id: str | None = None


_request = msgspec.json.Decoder(ChatRequest)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Asked:
    model: str
    message: str
    """What is said to the Role."""
    told: Told | None
    """The conversation before it, where the request is the only one to know it."""
    session_id: str | None
    user: str | None
    choices: int
    """How many answers."""
    stream: bool
    include_usage: bool
    dropped: tuple[str, ...]
    """Names of parameters that do nothing here."""


def read(body: bytes, headers: Mapping[str, str]) -> Asked:
    """Raises BadRequest: `malformed_json`, `invalid_request`, or what is not supported; NotFound `response_not_found`."""
    try:
        request = _request.decode(body)
        fields = _fields.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the request is not valid: {error}", code="invalid_request") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the request is not valid JSON", code="malformed_json") from None
    choices = 1 if request.n is None else request.n
    if not 1 <= choices <= MAX_CHOICES:
        raise BadRequest(
            f"n is a number from 1 to {MAX_CHOICES}", hint="Ask again for more answers", code="n_not_supported"
        )
    session_id = session_of(request, headers)
    message, told = conversation(request.messages)
    options = request.stream_options
    return Asked(
        model=request.model,
        message=message,
        told=told if session_id is None else None,
        session_id=session_id,
        user=request.user or None,
        choices=choices,
        stream=bool(request.stream),
        include_usage=options is not None and options.include_usage,
        dropped=dropped(fields),
    )


def session_of(request: ChatRequest, headers: Mapping[str, str]) -> str | None:
    """The session that a request goes on with, in the order of precedence; None where it names none."""
    conversation = request.conversation
    named = (
        request.session_id,
        request.metadata.session_id if request.metadata else None,
        headers.get("x-session-id"),
        headers.get("x-openwebui-chat-id"),
        conversation.id if isinstance(conversation, Conversation) else conversation,
        _session_of_response(request.previous_response_id or ""),
    )
    return next((name for name in named if name), None)


def completion_id(response_id: str, session_id: str | None) -> str:
    """Of an answer. It says its session, so that `previous_response_id` leads back there.

    >>> completion_id("r1", "abc"), completion_id("r1", None)
    ('chatcmpl-r1.abc', 'chatcmpl-r1')
    """
    return f"{RESPONSE}{response_id}" + (f".{session_id}" if session_id else "")


def _session_of_response(previous: str) -> str:
    """The session of one of our answers; any other word is the session's own."""
    if not previous.startswith(RESPONSE):
        return previous
    session_id = previous.partition(".")[2]
    if not session_id:
        raise NotFound(
            "that answer belongs to no session, so there is nothing to go on with",
            hint="Begin with session_id, or send the whole conversation as messages",
            code="response_not_found",
        )
    return session_id


def dropped(fields: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """Names of what does nothing here. A name goes into a header, so it is a plain word or is not repeated.

    >>> dropped({"model": msgspec.Raw(b'"cat"'), "seed": msgspec.Raw(b"7"), "stop": msgspec.Raw(b"null")})
    ('seed',)
    """
    names = (name for name, value in fields.items() if name not in KNOWN and value != _NULL)
    return tuple(sorted(name for name in names if _NAME.fullmatch(name))[:MAX_DROPPED])
