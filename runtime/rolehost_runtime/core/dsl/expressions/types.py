"""What an expression may speak of, and of which types that is."""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct


class Kind(Enum):
    """CEL's words."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    NULL = "null"
    LIST = "list"
    MAP = "map"
    DYN = "dyn"
    """Known only when it is there."""


class Type(Struct, frozen=True):
    kind: Kind
    item: "Type | None" = None
    """Of a list; None: of any type."""
    fields: "Mapping[str, Type] | None" = None
    """Of a map whose fields were declared; None: it may have any."""

    def __str__(self) -> str:
        """In words: `an int`, `a list of strings`."""
        if self.kind is Kind.LIST and self.item is not None and self.item.kind is not Kind.DYN:
            return f"a list of {self.item.kind.value}s"
        return {Kind.INT: "an int", Kind.NULL: "null", Kind.MAP: "an object", Kind.DYN: "anything"}.get(
            self.kind, f"a {self.kind.value}"
        )


BOOL, INT, DOUBLE, STRING, NULL, DYN = map(Type, (Kind.BOOL, Kind.INT, Kind.DOUBLE, Kind.STRING, Kind.NULL, Kind.DYN))
ANY_LIST, ANY_MAP = Type(Kind.LIST), Type(Kind.MAP)
NUMBERS = (Kind.INT, Kind.DOUBLE)
SCALARS = (Kind.BOOL, Kind.INT, Kind.DOUBLE, Kind.STRING)


def list_of(item: Type) -> Type:
    return Type(Kind.LIST, item)


def record(fields: Mapping[str, Type]) -> Type:
    """An object that has these fields and no others."""
    return Type(Kind.MAP, fields=dict(fields))


class Names(Struct, frozen=True):
    """The environment that an expression is checked in. What a Role keeps is anything where nobody declared it."""

    state: Type = ANY_MAP
    user_state: Type = ANY_MAP

    def known(self) -> dict[str, Type]:
        return {
            "message": STRING,
            "user": STRING,
            "turn": INT,
            "node": STRING,
            "state": self.state,
            "user_state": self.user_state,
        }


class Facts(Struct, frozen=True):
    """What an expression is asked about: one turn, as plain values."""

    message: str = ""
    """What the user wrote."""
    user: str = ""
    """Who wrote it; empty where nobody was named."""
    turn: int = 1
    """1 is the session's first."""
    node: str = ""
    """The node that is current."""
    state: Mapping[str, object] = {}
    """What the Role keeps of the session, by its stored names: numbers, text, lists and objects as JSON knows them."""
    user_state: Mapping[str, object] = {}
    """The same of the person."""
