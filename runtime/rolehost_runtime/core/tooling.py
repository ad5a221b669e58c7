"""Tools a model calls: which it may, what it is told where a call comes to nothing, and what of it is kept. Pure.

Shared by the pod's engine, which runs the logic's own, and the gateway, which decides what is offered and calls the others.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from rolehost_api.link.tools import ALL_TOOLS, MAX_TOOL_TEXT_BYTES, ToolSpec

PERMISSION = "tool:"
OK = "ok"
"""The outcome of a call that worked; else it is the error's code."""
OTHER = "other"
"""In a label, for a tool that nobody declares."""
CUT = "… (cut)"
FOREIGN = "__"
"""In the name of a tool that is a server's; none of the logic's own has it."""
UNKNOWN, DENIED, TOO_LARGE, INVALID = "unknown_tool", "permission_denied", "arguments_too_large", "invalid_arguments"
WARMING = "warming_up"
"""Of a turn that nobody asked for: see `core.warming`."""
FAILED, LATE, TOO_MANY, ROUNDS = "tool_failed", "tool_late", "too_many_tool_calls", "too_many_tool_rounds"
TOLD: Mapping[str, str] = {
    UNKNOWN: "There is no such tool.",
    DENIED: "This tool may not be called here.",
    TOO_LARGE: "The arguments are too large.",
    INVALID: "The arguments are not JSON of an object.",
    FAILED: "The tool failed.",
    LATE: "The tool took too long.",
    TOO_MANY: "Too many tools were called. Answer with what is known.",
    ROUNDS: "Too many rounds of tools. Answer with what is known.",
    WARMING: "No tool is called just now.",
}
"""What a model reads in a result's place."""
CODES = frozenset(TOLD)


def granted(permissions: Iterable[str], name: str) -> bool:
    """Whether a Role's permissions let its model call this tool. A `*` at the end stands for any rest.

    >>> granted(["tool:weather", "model.call"], "weather"), granted(["tool:weather"], "weather2")
    (True, False)
    >>> granted(["tool:*"], "maps__route"), granted(["tool:maps__*"], "maps__route"), granted(["tool:maps__*"], "maps")
    (True, True, False)
    """
    for permission in permissions:
        wanted = permission.removeprefix(PERMISSION)
        if wanted != permission and (wanted == name or (wanted.endswith("*") and name.startswith(wanted[:-1]))):
            return True
    return False


def may_call(permissions: Collection[str] | None) -> bool:
    """Whether there is any tool that they grant. None: they are not known here.

    >>> may_call(["model.call"]), may_call(["tool:weather"]), may_call(None)
    (False, True, True)
    """
    return permissions is None or any(one.startswith(PERMISSION) for one in permissions)


def offered(specs: Iterable[ToolSpec], permissions: Sequence[str], wanted: Sequence[str]) -> tuple[ToolSpec, ...]:
    """Of `specs`, those that are granted and that the question names; by name, so that a prompt with them stays the same.

    >>> both = [ToolSpec(name="weather"), ToolSpec(name="stars")]
    >>> [one.name for one in offered(both, ["tool:*"], ["*"])], [one.name for one in offered(both, ["tool:*"], ["stars"])]
    (['stars', 'weather'], ['stars'])
    >>> offered(both, ["tool:moon"], ["*"])
    ()
    """
    found = {one.name: one for one in specs if ALL_TOOLS in wanted or one.name in wanted}
    return tuple(found[name] for name in sorted(found) if granted(permissions, name))


def call_id(index: int, place: int) -> str:
    """Of the `place`th call in the answer to question `index`: nine letters and digits, which every server takes.

    >>> call_id(3, 0), call_id(1024, 15)
    ('c00030000', 'c10240015')
    """
    return f"c{index:04d}{place:04d}"


def arguments_of(said: str) -> dict[str, Any] | None:
    """The arguments of a call; None where they are no JSON of an object. Nothing at all is an object without fields.

    >>> arguments_of('{"city": "Oslo"}'), arguments_of(""), arguments_of('{"city": '), arguments_of("[1]")
    ({'city': 'Oslo'}, {}, None, None)
    """
    if not said.strip():
        return {}
    try:
        found = msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def name_of(said: str) -> str:
    """A name that a model called, in letters that every server takes back.

    >>> name_of("weather"), name_of("functions.get weather!"), name_of(""), len(name_of("x" * 1000))
    ('weather', 'functions_get_weather_', 'unknown', 64)
    """
    clean = "".join(one if one.isascii() and (one.isalnum() or one in "_-") else "_" for one in said[:64])
    return clean or "unknown"


def clipped(text: str, most: int = MAX_TOOL_TEXT_BYTES) -> str:
    """At most so many bytes of it; half a surrogate pair is a question mark.

    >>> clipped("a dragon"), clipped("从前有一条龙" * 3, 30)
    ('a dragon', '从前有一条龙从… (cut)')
    """
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data.decode()
    return data[: most - len(CUT.encode())].decode(errors="ignore") + CUT


def pause(said: str) -> str:
    """Between what an answer said before it called tools and what it says after.

    >>> pause("I will look."), pause(""), pause("Well, ")
    ('\\n\\n', '', '')
    """
    return "\n\n" if said and not said[-1].isspace() else ""


def outcome_of(error: str) -> str:
    """What may be repeated of how a call ended: one of the codes here.

    >>> outcome_of(""), outcome_of("permission_denied"), outcome_of("send money")
    ('ok', 'permission_denied', 'tool_failed')
    """
    return (error if error in CODES else FAILED) if error else OK
