"""Declaring tools: the schema that a signature makes, and the errors of what makes none."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pytest

from rolehost import Role, State, Turn
from rolehost.errors import ModelFailed
from rolehost.testing import Call
from rolehost.tools import InvalidArguments
from rolehost_api.errors import LogicError
from rolehost_api.link.tools import MAX_TOOLS
from rolehost_runtime.core.dsl.permits import refused, uses


class Spot(msgspec.Struct):
    lat: float
    lon: float = 0.0


def role() -> Role[State]:
    return Role("sky")


def declare(function: Callable[..., Any], **more: Any) -> Any:
    sky = role()
    sky.tool(**more)(function) if more else sky.tool(function)
    return next(iter(sky.tools.values()))


def test_a_signature_becomes_a_schema() -> None:
    async def forecast(
        t: Turn[Any],
        city: str,
        days: Annotated[int, "how many", msgspec.Meta(ge=1)] = 3,
        unit: Literal["C", "F"] = "C",
        spots: list[Spot] = [],  # noqa: B006 - what is tested
        note: str | None = None,
    ) -> str:
        """The weather
        in a city.

        For the days to come.

        Args:
            city: its name,
                in English
            days: not this one
        """
        return ""

    tool = declare(forecast)
    assert (tool.name, tool.spec.description) == ("forecast", "The weather in a city.")
    schema = json.loads(tool.spec.parameters)
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["city"], False)
    assert schema["properties"]["city"] == {"type": "string", "description": "its name, in English"}
    assert schema["properties"]["days"] == {"type": "integer", "minimum": 1, "description": "how many", "default": 3}
    assert schema["properties"]["unit"]["enum"] == ["C", "F"]
    assert schema["$defs"]["Spot"]["required"] == ["lat"]
    read = tool.read({"city": "Oslo", "days": "5", "spots": [{"lat": 1}]})
    assert read == {"city": "Oslo", "days": 5, "unit": "C", "spots": [Spot(1.0)], "note": None}
    tool.read({"city": "Oslo"})["spots"].append(1)
    assert tool.read({"city": "Oslo"})["spots"] == []


@pytest.mark.parametrize("sent", [{}, {"city": 1}, {"city": "O", "days": 0}, {"city": "O", "moon": 1}, {"city": None}])
def test_what_does_not_fit_is_said_in_the_schemas_words(sent: dict[str, Any]) -> None:
    def forecast(t: Turn[Any], city: str, days: Annotated[int, msgspec.Meta(ge=1)] = 3) -> None:
        """Weather."""

    with pytest.raises(InvalidArguments) as raised:
        declare(forecast).read(sent)
    assert "city" in str(raised.value) or "days" in str(raised.value) or "moon" in str(raised.value)


def no_doc(t: Turn[Any]) -> None: ...
def no_turn() -> None:
    """No turn."""


def stars(t: Turn[Any], *names: str) -> None:
    """Stars."""


def kwargs(t: Turn[Any], **names: str) -> None:
    """Stars."""


def untyped(t: Turn[Any], city) -> None:  # type: ignore[no-untyped-def]
    """Stars."""


def unknown(t: Turn[Any], city: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Stars."""


def odd(t: Turn[Any], city: Callable[[], None]) -> None:
    """Stars."""


def double__name(t: Turn[Any]) -> None:
    """Stars."""


def positional(t: Turn[Any], city: str, /) -> None:
    """Stars."""


def hidden(t: Turn[Any], _city: str) -> None:
    """Stars."""


async def generator(t: Turn[Any]) -> Any:
    """Stars."""
    yield 1


def long(t: Turn[Any]) -> None: ...


long.__doc__ = "x" * 2000


def large(t: Turn[Any], city: Annotated[str, "y" * 20_000]) -> None:
    """Stars."""


def default(t: Turn[Any], city: object = object()) -> None:
    """Stars."""


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (no_doc, "no docstring"), (no_turn, "takes no turn"), (stars, "takes *names"), (kwargs, "takes *names"),
        (untyped, "city of untyped has no type"), (unknown, "is not known"), (odd, "no schema can say"),
        (double__name, "has __"), (positional, "positional only"), (hidden, "begins with _"),
        (generator, "a tool is a def"), (long, "over 1024"), (large, "too large"), (default, "is no JSON"),
    ],
)  # fmt: skip
def test_what_makes_no_tool_is_said_with_its_place(function: Callable[..., Any], what: str) -> None:
    with pytest.raises(LogicError) as raised:
        declare(function)
    assert raised.value.code == "invalid_tool"
    assert what in raised.value.message
    line = function.__code__.co_firstlineno
    assert raised.value.message.startswith(f"test_sdk_tools.py:{line}: ")


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "maps__route", "7up", 7])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(LogicError) as raised:
        declare(kwargs, name=name)
    assert raised.value.code == "invalid_tool"


def test_two_of_one_name_and_too_many() -> None:
    sky = role()

    def look(t: Turn[Any]) -> None:
        """Look."""

    sky.tool(look)
    with pytest.raises(LogicError, match=r"there are two tools named look, the other one at test_sdk_tools\.py:"):
        sky.tool(look)
    for number in range(MAX_TOOLS - 1):
        sky.tool(name=f"look{number}")(look)
    with pytest.raises(LogicError, match="at most 64"):
        sky.tool(name="one_more")(look)


def test_the_decorator_gives_the_function_back() -> None:
    def look(t: Turn[Any]) -> None:
        """Look."""

    assert role().tool(look) is look
    assert role().tool(name="x", description="y")(look) is look


@pytest.mark.parametrize("tools", ["stars", [7], ["two words"], ["x"] * 65])
def test_a_question_names_tools_by_what_are_names(role_session: Any, tools: Any) -> None:
    asked = role_session("sky_for_tests.py:asker")
    asked.say(json.dumps(tools)).expect.degraded(code="invalid_tool")


# ── the fixture ─────────────────────────────────────────────────────────────────────


async def test_the_fixture_calls_tools(role_session: Any) -> None:
    session = role_session("sky_for_tests.py:sky", model=[Call("stars", city="Oslo", text="I look."), "Vega."])
    reply = await session.say("what is up?")
    reply.expect.tool("stars", city="Oslo", result="Vega over Oslo").state(looks=1).asked(2).no_event("error")
    assert reply.text == "I look.\n\nVega."
    assert reply.prompts[1].endswith("persona: I look.\ntool stars: Vega over Oslo")


async def test_the_fixture_calls_what_fails(role_session: Any) -> None:
    calls = (Call("broken"), Call("stars", raw="{"), Call("nothing"), Call("maps__route", to="Oslo"))
    session = role_session(
        "sky_for_tests.py:sky", model=[calls, "Hm."], servers={"maps__route": lambda to: f"left to {to}"}
    )
    reply = await session.say("what is up?")
    reply.expect.tool("broken", error="tool_failed").tool("stars", error="invalid_arguments")
    reply.expect.tool("nothing", error="unknown_tool").tool("maps__route", result="left to Oslo")
    reply.expect.degraded("tool:broken", "tool_failed").state(looks=0)
    with pytest.raises(AssertionError, match="broken came to tool_failed, expected ok"):
        reply.expect.tool("broken")
    with pytest.raises(AssertionError, match="no such call was made"):
        reply.expect.tool("moon")


async def test_the_fixture_grants_what_the_manifest_does(role_session: Any) -> None:
    session = role_session(
        "sky_for_tests.py:sky", permissions=("model.call", "tool:stars"), model=[Call("broken"), "Hm."]
    )
    (await session.say("hi")).expect.tool("broken", error="permission_denied")


async def test_a_model_that_fails_behind_a_round_fails_the_turn(role_session: Any) -> None:
    session = role_session(
        "sky_for_tests.py:sky", model=[Call("stars", city="O"), ModelFailed("no", code="model_timeout")]
    )
    reply = await session.say("hi")
    reply.expect.failed("model_timeout").state(looks=0)


# ── permissions ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("permissions", "missing"),
    [(["tool:*"], []), (["tool:stars"], ["tool:rain"]), (["model.call"], ["tool:stars", "tool:rain"]), (["tool:ra*"], ["tool:stars"])],
)  # fmt: skip
def test_check_tells_of_tools_that_are_not_granted(permissions: list[str], missing: list[str]) -> None:
    source = """
@sky.tool(name="stars")
async def look(t, city: str) -> str: ...

@sky.tool
def rain(t) -> str: ...

@unrelated
def other(t) -> str: ...
"""
    assert [use.permission for use in refused(uses(source), permissions)] == missing
