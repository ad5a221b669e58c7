"""Tools: functions of the logic that the model may call. A function's signature becomes a schema, its docstring the words.

    @cat.tool
    async def weather(t: Turn, city: str, days: int = 3) -> str:
        \"\"\"The weather in a city.

        Args:
            city: its name, in English
        \"\"\"

The schema is made once, when the logic is loaded; what the model sends is checked against it before the function is called.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_origin, get_type_hints

import msgspec

from rolehost_api.errors import LogicError
from rolehost_api.link.tools import MAX_DESCRIPTION_CHARS, MAX_TOOL_BYTES, MAX_TOOLS, MAX_TOOLS_BYTES, ToolSpec

MAX_ARGUMENTS = 32
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?):?", re.IGNORECASE)
_ARGUMENT = re.compile(r"(?::param\s+(?:\w+\s+)?)?\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(\S.*)")


class InvalidArguments(Exception):
    """What a model sent does not fit. Its text says where and how, in words of the schema's, for the model to read."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    spec: ToolSpec
    function: Callable[..., Any]
    arguments: type[msgspec.Struct]
    """What is sent, as a type."""

    @property
    def name(self) -> str:
        return self.spec.name

    def read(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """The function's arguments. A number in quotes is one. Raises InvalidArguments."""
        try:
            found = msgspec.convert(sent, self.arguments, strict=False)
        except (msgspec.ValidationError, RecursionError) as error:
            raise InvalidArguments(str(error)[:500]) from None
        return {field.name: getattr(found, field.name) for field in msgspec.structs.fields(self.arguments)}


def declared(
    function: Callable[..., Any], name: str | None, description: str | None, others: Mapping[str, Tool]
) -> Tool:
    """The tool that a function is. Raises LogicError `invalid_tool`, which names the place."""
    place = _Place(function)
    called = getattr(function, "__name__", "") if name is None else name
    if not isinstance(called, str) or not _NAME.fullmatch(called):
        raise place.error(
            "a tool's name is a letter, and then up to 63 of A-Z, a-z, 0-9, _ and -", '@role.tool(name="weather")'
        )
    if "__" in called:
        raise place.error(f"the tool {called} has __ in its name, which names tools of other servers", "Use one _")
    if called in others:
        other = _Place(others[called].function)
        raise place.error(f"there are two tools named {called}, the other one at {other.at}", "Rename one of them")
    if len(others) >= MAX_TOOLS:
        raise place.error(f"a Role has at most {MAX_TOOLS} tools")
    is_plain = inspect.isfunction(function) and not (
        inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)
    )
    if not is_plain:
        raise place.error("a tool is a def or async def", "async def weather(t: Turn, city: str) -> str: …")
    words, about = _told(inspect.getdoc(function) or "")
    words = words if description is None else description
    if not isinstance(words, str) or not words.strip():
        raise place.error(f"the tool {called} has no docstring", "Its first paragraph tells the model when to use it")
    if len(words) > MAX_DESCRIPTION_CHARS:
        raise place.error(f"the description of {called} is over {MAX_DESCRIPTION_CHARS} characters")
    arguments = _arguments(function, called, about, place)
    schema = _schema(arguments, place)
    size = len(schema) + len(words.encode(errors="replace"))
    if size > MAX_TOOL_BYTES or size + sum(map(_size, others.values())) > MAX_TOOLS_BYTES:
        raise place.error(
            f"with {called}, what is said of tools is too large",
            f"One may take {MAX_TOOL_BYTES} bytes, all together {MAX_TOOLS_BYTES}",
        )
    return Tool(ToolSpec(name=called, description=words, parameters=schema), function, arguments)


def _size(tool: Tool) -> int:
    return len(tool.spec.parameters) + len(tool.spec.description.encode(errors="replace"))


class _Place:
    """Where a tool is declared."""

    def __init__(self, function: object) -> None:
        code = getattr(function, "__code__", None)
        self.at = f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}" if code is not None else "?"

    def error(self, what: str, hint: str = "") -> LogicError:
        return LogicError(f"{self.at}: {what}", hint=hint, code="invalid_tool")


def _arguments(
    function: Callable[..., Any], name: str, about: Mapping[str, str], place: _Place
) -> type[msgspec.Struct]:
    parameters = [*inspect.signature(function).parameters.values()]
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in by_place:
        raise place.error(f"the tool {name} takes no turn", "Its first argument is the turn: t: Turn")
    rest = parameters[1:]
    if len(rest) > MAX_ARGUMENTS:
        raise place.error(f"the tool {name} has over {MAX_ARGUMENTS} arguments")
    for one in rest:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise place.error(
                f"the tool {name} takes *{one.name}, which no schema can say" if one.kind is not one.POSITIONAL_ONLY
                else f"the argument {one.name} of {name} is positional only",
                "Give every argument a name and a type",
            )  # fmt: skip
        if one.annotation is one.empty:
            raise place.error(f"the argument {one.name} of {name} has no type", f"{one.name}: str")
        if one.name.startswith("_"):
            raise place.error(
                f"the argument {one.name} of {name} begins with _", "The model is told the name: drop the _"
            )
    fields: list[Any] = []
    for one in rest:
        kind = _resolved(function, one, name, place)
        if (words := about.get(one.name)) and not _is_described(kind):
            kind = Annotated[kind, msgspec.Meta(description=words)]
        fields.append((one.name, kind) if one.default is one.empty else (one.name, kind, _default(one, name, place)))
    try:
        return msgspec.defstruct(name.replace("-", "_"), fields, kw_only=True, forbid_unknown_fields=True)
    except (TypeError, ValueError, RecursionError):
        raise place.error(f"the arguments of {name} make no schema") from None


def _resolved(function: Callable[..., Any], one: inspect.Parameter, name: str, place: _Place) -> Any:
    """The argument's type. A text in `Annotated[str, "…"]` is its description."""

    def alone() -> None:
        """One argument's annotation by itself: another one's may not be there when the logic runs."""

    alone.__annotations__ = {one.name: one.annotation}
    try:
        kind = get_type_hints(alone, globalns=function.__globals__, include_extras=True)[one.name]
    except Exception:
        raise place.error(
            f"the type of {one.name} in {name} is not known where the logic is loaded",
            "Import it, outside of `if TYPE_CHECKING`",
        ) from None
    if get_origin(kind) is Annotated:
        said = [msgspec.Meta(description=extra) if isinstance(extra, str) else extra for extra in kind.__metadata__]
        kind = Annotated[(kind.__origin__, *said)]
    return kind


def _is_described(kind: Any) -> bool:
    extras = kind.__metadata__ if get_origin(kind) is Annotated else ()
    return any(isinstance(one, msgspec.Meta) and one.description for one in extras)


def _default(one: inspect.Parameter, name: str, place: _Place) -> Any:
    """A container is one of its own for each call."""
    if isinstance(one.default, list | dict | set):
        kind = type(one.default)
        return msgspec.field(default_factory=lambda: kind(one.default))
    try:
        msgspec.json.encode(one.default)
    except (TypeError, ValueError, RecursionError):
        raise place.error(f"the default of {one.name} in {name} is no JSON", "Take None, and fill it in") from None
    return one.default


def _schema(arguments: type[msgspec.Struct], place: _Place) -> bytes:
    try:
        (top,), parts = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    except (TypeError, ValueError, RecursionError, NameError) as error:
        kind = str(error).partition("\n")[0]
        raise place.error(
            f"an argument of {arguments.__name__} has a type that no schema can say",
            f"str, int, float, bool, list, dict, Literal, an Enum or a Struct will do ({kind[:120]})",
        ) from None
    own = dict(parts)
    schema = own.pop(top["$ref"].rpartition("/")[2])
    schema.pop("title", None)
    if own:
        schema["$defs"] = own
    return msgspec.json.encode(schema, order="sorted")


def _told(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's first paragraph, and what it says of arguments: `city: its name`, or `:param city: its name`.

    >>> _told("The weather\\nin a city.\\n\\nArgs:\\n    city: its name,\\n        in English\\n    days (int): how many\\n")
    ('The weather in a city.', {'city': 'its name, in English', 'days': 'how many'})
    """
    paragraph, _, rest = doc.strip().partition("\n\n")
    about: dict[str, str] = {}
    last, depth = "", 0
    for line in rest.splitlines():
        indent = len(line) - len(line.lstrip())
        found = _ARGUMENT.fullmatch(line.strip())
        if not line.strip() or _SECTION.fullmatch(line.strip()):
            last = ""
        elif last and indent > depth:
            about[last] += f" {line.strip()}"
        elif found:
            last, depth = found[1], indent
            about[last] = found[2]
    return " ".join(paragraph.split()), {name: text[:MAX_DESCRIPTION_CHARS] for name, text in about.items()}
