"""The messages of a request: what is said now, and what was said before it. Pure."""

from msgspec import Struct

from rolehost_api.errors import BadRequest
from rolehost_api.wire import MAX_MESSAGE_CHARS
from rolehost_runtime.core.prompt import Exchange, Told

_TEXT = frozenset({"text", "input_text", "output_text"})


class ContentPart(Struct, frozen=True):
    type: str
    text: str = ""


class ChatMessage(Struct, frozen=True):
    role: str
    content: str | list[ContentPart] | None = None


def conversation(messages: list[ChatMessage]) -> tuple[str, Told]:
    """What is said now, and what was said before it. Raises BadRequest.

    Whatever their place, system messages are told beside the persona; the last of the others is the user's word.
    A greeting that nobody asked for, or two messages in a row, is an exchange of which one half is empty:

    >>> conversation([ChatMessage("assistant", "Meow."), ChatMessage("user", "Hi"), ChatMessage("system", "Be kind.")])
    ('Hi', Told(system=('Be kind.',), past=(Exchange(input='', reply='Meow.', hidden=False),)))
    """
    system: list[str] = []
    spoken: list[tuple[str, str]] = []
    for message in messages:
        text = _text(message)
        if message.role in ("system", "developer"):
            system.append(text)
        elif message.role in ("user", "assistant"):
            spoken.append((message.role, text))
        else:
            raise BadRequest(
                "a message is of system, developer, user or assistant", hint="Tools are the Role's own business here",
                code="speaker_not_supported",
            )  # fmt: skip
    if not spoken or spoken[-1][0] != "user":
        raise BadRequest(
            "the last message must be the user's", hint="An answer cannot be continued", code="last_message_not_user"
        )
    said = spoken.pop()[1]
    if len(said) > MAX_MESSAGE_CHARS:
        raise BadRequest(f"a message has at most {MAX_MESSAGE_CHARS} characters", code="message_too_long")
    return said, Told(tuple(text for text in system if text), _exchanges(spoken))


def _exchanges(spoken: list[tuple[str, str]]) -> tuple[Exchange, ...]:
    exchanges: list[Exchange] = []
    asked: str | None = None
    for speaker, text in spoken:
        if speaker == "assistant":
            exchanges.append(Exchange(asked or "", text))
            asked = None
        else:
            if asked is not None:
                exchanges.append(Exchange(asked, ""))
            asked = text
    return (*exchanges, Exchange(asked, "")) if asked is not None else tuple(exchanges)


def _text(message: ChatMessage) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    if any(part.type not in _TEXT for part in message.content):
        raise BadRequest("a message is text; images, sounds and files are not read", code="content_not_supported")
    return "\n".join(part.text for part in message.content)
