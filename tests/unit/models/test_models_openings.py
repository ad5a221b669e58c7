"""The words that prompts open with: written once, and never another tenant's."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.crd.modelbackend import CacheSalt, LateText
from rolehost_runtime.core.models.abilities import Able
from rolehost_runtime.core.models.caching import cache_key
from rolehost_runtime.gateway.broker.models.arranging import arranged
from rolehost_runtime.gateway.broker.models.openings import Openings
from rolehost_runtime.gateway.ports import ModelMessage, ModelRequest

WORDS = st.sampled_from(["a", "ab", "b", "cat", "猫"])


@given(st.lists(st.tuples(WORDS, WORDS, st.text(max_size=20), st.booleans()), min_size=1, max_size=20))
def test_what_is_found_is_what_was_asked_for_and_of_the_same_tenant(
    asked: list[tuple[str, str, str, bool]],
) -> None:
    openings, seen = Openings(), set()
    for tenant, revision, text, with_salt in asked:
        hits, one = openings.kept.hits, (tenant, revision, text, with_salt)
        found = openings.of(cache_key(tenant, revision), text, with_salt=with_salt)
        assert (openings.kept.hits > hits) == (one in seen)
        assert msgspec.json.decode(found.json) == found.text
        assert found.text.endswith(text)
        assert found.text.startswith("[") or not with_salt
        seen.add(one)


@given(st.lists(st.tuples(WORDS, WORDS), unique=True, min_size=2, max_size=10))
def test_no_two_revisions_and_no_two_tenants_have_the_same_key(pairs: list[tuple[str, str]]) -> None:
    assert len({cache_key(*pair) for pair in pairs}) == len(pairs)


SPOKEN = st.lists(
    st.builds(ModelMessage, st.sampled_from(["system", "user", "assistant"]), st.text(min_size=1, max_size=8)),
    max_size=6,
)  # fmt: skip


@given(SPOKEN, st.lists(st.text(min_size=1, max_size=8), max_size=2), st.sampled_from(LateText), st.booleans())
@pytest.mark.parametrize("salt", CacheSalt)
def test_nothing_that_is_said_is_lost_wherever_a_model_takes_it(
    salt: CacheSalt, said: list[ModelMessage], late: list[str], where: LateText, knows: bool
) -> None:
    """And what the next prompt begins with too stays what it was."""
    messages = [*said, *(ModelMessage("system", text, late=True) for text in late), ModelMessage("user", "now")]
    first = said[0].content if said and said[0].role == "system" else ""
    request = ModelRequest(
        "m", messages, {}, None, "uid", stable_chars=len(first), steady=len(said), cache_key=cache_key("uid", "r")
    )
    able = Able(late_text=where, cache_salt=salt)
    made, again = (arranged(request, able, openings) for openings in (Openings() if knows else None, None))
    assert [(one.role, one.content) for one in made.messages] == [(one.role, one.content) for one in again.messages]
    text = "\n\n".join(one.content for one in made.messages)
    assert all(one.content in text for one in messages)
    assert not any(one.late for one in made.messages)
    assert made.messages[-1].content.endswith("now")
    if first:
        assert made.messages[0].content[: made.stable_chars].endswith(first)
    if salt is CacheSalt.PROMPT:
        assert made.messages[0].content.startswith(f"[{request.cache_key}]")
    if where is not LateText.OPENING:
        later = arranged(ModelRequest("m", [*said, ModelMessage("user", "other")], {}, None, "uid", stable_chars=len(first),
                                      steady=len(said), cache_key=request.cache_key), able)  # fmt: skip
        assert [one.content for one in made.messages[: made.steady]] == [
            one.content for one in later.messages[: made.steady]
        ]
