"""The personas that are built in. One that is out is never changed: revisions name it, and are what their name says.
What is to be better is a new version beside it."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

NAMES = ("companion_v1", "fantasy_narrator_v1", "support_v1", "tutor_v1")


class Variable(NamedTuple):
    about: str
    default: str | None
    """None: whoever uses the template gives it."""


class Template(NamedTuple):
    about: str
    system: str
    greeting: str
    variables: Mapping[str, Variable]


@cache
def template(name: str) -> Template:
    """Raises KeyError where there is none of that name.

    >>> sorted(template("tutor_v1").variables)
    ['level', 'name', 'style', 'subject']
    """
    if name not in NAMES:
        raise KeyError(name)
    read = tomllib.loads((files(__package__) / "library" / f"{name}.toml").read_text("utf-8"))
    variables = {name: Variable(one["about"], one.get("default")) for name, one in read["variables"].items()}
    return Template(read["about"], read["system"].strip(), read["greeting"].strip(), variables)
