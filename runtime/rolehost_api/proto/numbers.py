"""Which number every field was given: `numbers.json`, which `make render` extends and nobody writes by hand.

A number is given once. A field that goes keeps its number, so that a client of today's is never
misread by a gateway of tomorrow's; one that changes its type needs a name of its own.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files

import msgspec

from rolehost_api.proto.shapes import MessageShape

FILE = "numbers.json"

Given = tuple[int, str]
"""A field's number, and its type as declared."""
Table = dict[str, dict[str, Given]]
"""By message and field."""


def load() -> Table:
    """The numbers that were given, read from this package."""
    return read(files(__package__).joinpath(FILE).read_bytes())


def read(text: bytes) -> Table:
    return msgspec.json.decode(text, type=Table)


def extended(table: Mapping[str, Mapping[str, Given]], shapes: Sequence[MessageShape]) -> Table:
    """The table with a number for every field: what has one keeps it, the rest get the next ones.

    Raises ValueError where a field is not of the type any more that its number stands for.

    >>> from rolehost_api.proto.shapes import Shape
    >>> old = {"Ping": {"t": (1, "int64"), "gone": (2, "string")}}
    >>> extended(old, [MessageShape("Ping", (Shape("t", "int64", "t"), Shape("id", "string", "id")))])["Ping"]["id"]
    (3, 'string')
    """
    whole = {name: dict(given) for name, given in table.items()}
    for message in shapes:
        given = whole.setdefault(message.name, {})
        for field in (*message.fields, *message.frames):
            if field.name not in given:
                given[field.name] = (1 + max((number for number, _ in given.values()), default=0), field.declared)
            elif given[field.name][1] != field.declared:
                raise ValueError(
                    f"{message.name}.{field.name} is {field.declared} and was {given[field.name][1]}: "
                    "clients read it as it was; give what is new a name of its own"
                )
    return whole


def unused(given: Mapping[str, Given], message: MessageShape) -> dict[str, int]:
    """Names of fields that were there once, with their numbers."""
    present = {field.name for field in (*message.fields, *message.frames)}
    return {name: number for name, (number, _) in given.items() if name not in present}


def written(table: Mapping[str, Mapping[str, Given]]) -> str:
    """The table as its file, a field a line."""
    blocks = []
    for name, given in table.items():
        rows = [f'    "{field}": [{number}, "{kind}"]' for field, (number, kind) in given.items()]
        blocks.append(f'  "{name}": {{\n' + ",\n".join(rows) + "\n  }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"
