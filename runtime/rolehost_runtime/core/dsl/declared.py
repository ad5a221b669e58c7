"""A State in Python as expressions see it."""

from typing import Any

import msgspec
from msgspec import inspect

from rolehost import Role
from rolehost_runtime.core.dsl.expressions import Names, Type
from rolehost_runtime.core.dsl.expressions.types import (
    ANY_LIST,
    ANY_MAP,
    BOOL,
    DOUBLE,
    DYN,
    INT,
    STRING,
    Kind,
    list_of,
    record,
)

MAX_DEPTH = 8
"""Of State within State; what lies deeper may be anything."""


def names_of(role: Role[Any]) -> Names:
    """What expressions may name of what a Role's Python keeps: `state` is the session's, `user_state` the person's, also
    where the person's is the only one.

    >>> from rolehost import State
    >>> class Tale(State):
    ...     dragons: int = 0
    >>> str(names_of(Role("storyteller", state=Tale)).state.fields["dragons"])
    'an int'
    """
    return Names(_record(role.state), _record(role.user_state) if role.user_state is not None else record({}))


def _record(state: type[msgspec.Struct], depth: int = MAX_DEPTH) -> Type:
    try:
        info = inspect.type_info(state)
    except Exception:  # a type that msgspec knows no fields of: the State itself was accepted
        return ANY_MAP
    return _type(info, depth)


def _type(kind: inspect.Type, depth: int) -> Type:
    match kind:
        case inspect.Metadata(type=inner):
            return _type(inner, depth)
        case inspect.BoolType():
            return BOOL
        case inspect.IntType():
            return INT
        case inspect.FloatType():
            return DOUBLE
        case inspect.StrType():
            return STRING
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            found = _type(item, depth - 1)
            return list_of(found) if found.kind is not Kind.DYN else ANY_LIST
        case inspect.DictType():
            return ANY_MAP
        case inspect.EnumType(cls=cls) if all(isinstance(member.value, str) for member in cls):
            return STRING
        case inspect.StructType(array_like=False, tag=None, fields=fields) if depth > 0:
            return record({one.encode_name: _type(one.type, depth - 1) for one in fields})
        case _:  # sets are objects where they are merged and lists where they are not; `in` takes both
            return DYN


def class_name(role: str) -> str:
    """
    >>> class_name("story-teller"), class_name("9-lives")
    ('StoryTeller', 'Role9Lives')
    """
    name = "".join(part.capitalize() for part in role.replace(".", "-").split("-"))
    return name if name[:1].isalpha() else f"Role{name}"
