"""Tools on the link: what a model is offered, what it calls, and what came of it.

A pod says its logic's tools once, when the logic is loaded. A question to the model names those it offers; the answer may
be calls, which the pod carries out, and the next question hands their results back: `continues` that answer, so that no
prompt travels twice.
"""

from typing import Annotated

from msgspec import Meta, Struct

MAX_TOOLS = 64
"""That one Role's logic declares."""
MAX_TOOL_BYTES, MAX_TOOLS_BYTES = 16_384, 65_536
"""Of one tool's description and schema, and of all of them together."""
MAX_DESCRIPTION_CHARS = 1024
MAX_CALLS = 16
"""In one answer of a model."""
MAX_ARGUMENT_BYTES, MAX_ARGUMENTS_BYTES = 16_384, 32_768
"""Of one call, and of all calls of one answer."""
MAX_TOOL_TEXT_BYTES = 32_768
"""Of what a tool gave back."""
ALL_TOOLS = "*"
"""In place of a name: every tool that the Role may call."""
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,64}\Z"

ToolName = Annotated[str, Meta(max_length=64, pattern=r"^([A-Za-z0-9_-]{1,64}|\*)\Z")]
"""What all vendors take for a name. One with `__` in it is a server's: `weather__forecast`."""
ToolText = Annotated[str, Meta(max_length=MAX_TOOL_TEXT_BYTES)]
CallId = Annotated[str, Meta(max_length=16)]


class ToolSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool as a model is told of it."""

    name: ToolName
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] = ""
    parameters: Annotated[bytes, Meta(max_length=MAX_TOOL_BYTES)] = b'{"type":"object","properties":{}}'
    """JSON: the schema of an object."""


class ToolCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call in a model's answer."""

    id: CallId
    """The platform's own, the same when the turn is run again."""
    name: ToolName
    arguments: Annotated[str, Meta(max_length=MAX_ARGUMENT_BYTES)] = ""
    """JSON of an object, as the model wrote it: it may be anything."""
    error: Annotated[str, Meta(max_length=64)] = ""
    """Why it is not to be carried out, e.g. `permission_denied`. The model is told, and nothing is run."""


class ToolOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one call, for the model to read."""

    id: CallId
    text: ToolText = ""
    error: Annotated[str, Meta(max_length=64)] = ""
    """A stable code where it came to nothing; `text` says it in words then."""
