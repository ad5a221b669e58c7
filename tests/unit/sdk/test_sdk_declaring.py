"""What a module may declare, and what it is told where it may not."""

from collections.abc import Callable

import pytest

from rolehost import Role, State, Turn
from rolehost_api.errors import LogicError


def without_default() -> None:
    class Bad(State):
        dragons: int


def a_strange_scope() -> None:
    class Bad(State, scope="tenant"):
        dragons: int = 0


def a_list_for_a_state() -> None:
    class Bad(State, array_like=True):
        dragons: int = 0


def too_many_hooks() -> None:
    cat = Role("cat")
    for _ in range(65):
        cat.on_message(lambda t: None)


def generator_hook(t: Turn[State]) -> object:
    yield


@pytest.mark.parametrize(
    ("declare", "code"),
    [
        (without_default, "state_needs_defaults"),
        (a_strange_scope, "scope_not_supported"),
        (a_list_for_a_state, "invalid_state"),
        (too_many_hooks, "invalid_hook"),
        (lambda: Role(""), "invalid_role"),
        (lambda: Role("cat", persona="template:fantasy_narrator_v1"), "invalid_role"),
        (lambda: Role("cat", state=dict), "invalid_state"),  # type: ignore[type-var]
        (lambda: Role("cat").on_message(generator_hook), "invalid_hook"),  # type: ignore[type-var]
        (lambda: Role("cat").on_reply(7), "invalid_hook"),  # type: ignore[call-overload]
    ],
)
def test_a_wrong_declaration_is_refused_with_a_code(declare: Callable[[], object], code: str) -> None:
    with pytest.raises(LogicError) as refused:
        declare()
    assert refused.value.code == code


def test_hooks_of_one_name_are_told_apart() -> None:
    cat = Role("cat")
    cat.on_message(lambda t: None)
    cat.on_message(lambda t: None)
    cat.on_start(required=True)(lambda t: None)
    assert [(hook.name, hook.required) for hook in cat.hooks] == [
        ("on_message:<lambda>", False),
        ("on_message:<lambda>#2", False),
        ("on_start:<lambda>", True),
    ]


def test_a_decorator_gives_the_function_back() -> None:
    def hook(t: Turn[State]) -> None: ...

    assert Role("cat").on_reply(hook) is hook
