"""The language of persona texts: `{{ name }}`, `{% if name %} … {% else %} … {% endif %}`, `{# a remark #}`.

What a variable holds is put in as it is and never read as a template itself. A line that holds nothing but a tag or a
remark leaves no line behind.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from rolehost_api.errors import BadRequest

MAX_RENDERED_CHARS = 65_536
MAX_DEPTH = 8
"""Of `if` in `if`."""
MAX_FAULTS = 20
CLOSERS = {"{{": "}}", "{%": "%}", "{#": "#}"}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OPENER = re.compile(r"\{[{%#]")
PERSONAL = ("user", "user_name", "username")
ONLY_NAMES = "A template has names in {{ }} and if, else, endif in {% %}: no attributes, calls, filters or loops"


class Fault(NamedTuple):
    line: int
    column: int
    """From 1."""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"


class InvalidTemplate(BadRequest):
    """A text that cannot be rendered, and every reason."""

    code = "invalid_template"

    def __init__(self, faults: Collection[Fault]) -> None:
        first = next(iter(faults))
        super().__init__(str(first), hint=first.hint)
        self.faults = tuple(faults)


class _Tag(NamedTuple):
    start: int
    kind: str
    """`text`, `{{`, `{%`."""
    body: str


def render(text: str, values: Mapping[str, str]) -> str:
    """The text with its places filled in. Raises InvalidTemplate.

    >>> render("Hi {{ name }}!{% if mood %} You are {{ mood }}.{% endif %}", {"name": "Tom", "mood": ""})
    'Hi Tom!'
    >>> render("a\\n{% if not x %}\\nb\\n{% else %}\\nc\\n{% endif %}\\nd", {"x": "yes"})
    'a\\nc\\nd'
    >>> render("Hi {{ nmae }}", {"name": "Tom"})
    Traceback (most recent call last):
    rolehost_api.persona.language.InvalidTemplate: 1:4: there is no variable 'nmae'. Did you mean name? Others go under persona.variables
    """
    faults: list[Fault] = []
    out: list[str] = []
    room = MAX_RENDERED_CHARS
    shown = [True]
    """Whether what stands here is shown, for each `if` around it."""
    opened: list[tuple[int, bool, bool]] = []
    """Where each `if` stands, whether its condition holds, and whether its `else` came."""

    def say(start: int, message: str, hint: str = "") -> None:
        faults.append(Fault(*_position(text, start), message, hint))

    def value(start: int, name: str) -> str:
        if name not in values:
            say(start, *_unknown(name, values))
        return values.get(name, "")

    for start, kind, body in _tags(text, faults):
        if len(faults) >= MAX_FAULTS:
            break
        part = ""
        if kind == "text":
            part = body
        elif kind == "{{":
            part = value(start, body.strip())
        else:
            words = body.split()
            match words:
                case ["if", name] | ["if", "not", name]:
                    holds = bool(value(start, name)) is not (len(words) == 3)
                    if len(opened) >= MAX_DEPTH:
                        say(start, f"an if in more than {MAX_DEPTH} others")
                        break
                    opened.append((start, holds, False))
                    shown.append(holds)
                case ["else"] if opened and not opened[-1][2]:
                    opened[-1] = (*opened[-1][:2], True)
                    shown[-1] = not opened[-1][1]
                case ["endif"] if opened:
                    opened.pop()
                    shown.pop()
                case ["else"] | ["endif"]:
                    say(start, f"{words[0]} without an if")
                case _:
                    say(start, "no tag that there is", ONLY_NAMES)
        if part and all(shown):
            room -= len(part)
            if room < 0:
                say(start, f"the text is over {MAX_RENDERED_CHARS} characters when its places are filled in")
                break
            out.append(part)
    else:
        for start, _, _ in opened:
            say(start, "an if without its endif")
    if faults:
        raise InvalidTemplate(sorted(faults))
    return "".join(out)


def names(text: str) -> frozenset[str]:
    """Every variable that the text reads; of one that cannot be read to its end, those before.

    >>> sorted(names("{{ a }} {% if not b %}{{ c }}{% endif %}"))
    ['a', 'b', 'c']
    """
    bodies = (body.split() for _, kind, body in _tags(text, []) if kind == "{{" or body.split()[:1] == ["if"])
    return frozenset(words[-1] for words in bodies if words)


def _unknown(name: str, values: Collection[str]) -> tuple[str, str]:
    """What is wrong with it, and what to write instead."""
    if not _NAME.fullmatch(name):
        return "this is no variable's name", ONLY_NAMES
    if name in PERSONAL:
        return (
            f"there is no variable {name!r}: a persona is the same text for everybody",
            "Tell the model of the user with t.prompt.add(…), or spec.template.memory.prompt",
        )
    near = get_close_matches(name, values, 1)
    known = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(values)) or 'none'}."
    return f"there is no variable {name!r}", f"{known} Others go under persona.variables"


def _tags(text: str, faults: list[Fault]) -> Iterator[_Tag]:
    """Linear, whatever is opened and never closed."""
    place = 0
    while (found := _OPENER.search(text, place)) is not None:
        start, opener = found.start(), found.group()
        end = text.find(CLOSERS[opener], start + 2)
        if end < 0:
            faults.append(Fault(*_position(text, start), f"{opener} without {CLOSERS[opener]}", ONLY_NAMES))
            return
        before, after = start, end + 2
        if opener != "{{":
            before, after = _line_of(text, start, after, place)
        if before > place:
            yield _Tag(place, "text", text[place:before])
        if opener != "{#":
            yield _Tag(start, opener, text[start + 2 : end])
        place = after
    if place < len(text):
        yield _Tag(place, "text", text[place:])


def _line_of(text: str, start: int, end: int, least: int) -> tuple[int, int]:
    """From where to where a tag takes its line with it: where nothing else is in the line."""
    first = start
    while first > least and text[first - 1] in " \t":
        first -= 1
    last = end
    while last < len(text) and text[last] in " \t":
        last += 1
    begins = first == 0 or text[first - 1] == "\n"
    if begins and last < len(text) and text[last] == "\n":
        return first, last + 1
    if begins and last == len(text):
        return first, last
    return start, end


def _position(text: str, start: int) -> tuple[int, int]:
    """
    >>> _position("ab\\ncd", 4)
    (2, 2)
    """
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
