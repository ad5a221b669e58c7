"""A State in Python as conditions of the manifest see it."""

from enum import Enum
from typing import Any

import msgspec
import pytest

from rolehost import Counter, Role, Set, State
from rolehost_api.link.messages import LoadError
from rolehost_runtime.core.dsl.declared import names_of
from rolehost_runtime.core.dsl.expressions import InvalidExpression, Names, compile_expression
from rolehost_runtime.sandbox.loading import NotLoaded, behavior


class Mood(Enum):
    CALM = "calm"


class Place(msgspec.Struct):
    name: str = ""


class Tale(State, rename="camel"):
    dragons: int = 0
    is_ready: bool = False
    share: float = 0.5
    names: list[str] = []
    mood: Mood = Mood.CALM
    place: Place = msgspec.field(default_factory=Place)
    maybe: int | None = None
    notes: dict[str, Any] = {}


class Bond(State, scope="user"):
    met: Set = set()
    count: Counter = 0


TALE = names_of(Role("story", state=Tale, user_state=Bond))


@pytest.mark.parametrize(
    "text",
    [
        "state.dragons > 3 && state.isReady && state.share > 0.25",
        "'Smaug' in state.names && state.mood == 'calm' && state.place.name == 'cave'",
        "state.maybe == null || state.maybe > 3",
        "state.notes.anything == 3",
        "'Smaug' in user_state.met && user_state.count % 2 == 0",
    ],
)
def test_what_is_declared_may_be_asked_about(text: str) -> None:
    assert compile_expression(text, TALE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state.is_ready", "Did you mean isReady?"),
        ("state.dragons == 'many'", "an int never equals a string"),
        ("state.place.nam == ''", "Did you mean name?"),
        ("state.count > 3", "Write user_state.count"),
        ("user_state.dragons > 3", "Write state.dragons"),
        ("state.names == 3", "a list of strings never equals an int"),
    ],
)
def test_what_is_not_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(InvalidExpression) as raised:
        compile_expression(text, TALE)
    assert said in f"{raised.value.problems[0].message}. {raised.value.problems[0].hint}"


def test_a_role_without_state_keeps_nothing() -> None:
    with pytest.raises(InvalidExpression, match="Nothing is kept there"):
        compile_expression("state.x == 1", names_of(Role("cat")))


def test_types_travel_as_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(TALE), type=Names) == TALE


def test_logic_that_lacks_what_the_manifest_asks_about_does_not_load() -> None:
    said = b'{"nodes": {"A": {}}, "edges": [{"from": "A", "to": "A", "when": "state.dragns > 3"}]}'
    assert behavior(said, has_logic=True) is not None
    with pytest.raises(NotLoaded) as raised:
        behavior(said, has_logic=True, names=TALE)
    assert isinstance(raised.value.error, LoadError)
    assert "Did you mean dragons?" in raised.value.error.hint
