"""Which model answers, and that its key is nowhere to be seen."""

from pathlib import Path

import click
import pytest

from rolehost_api.crd.modelbackend import BackendType
from rolehost_runtime.local.banner import Facts, banner
from rolehost_runtime.local.model import choose, scripted


@pytest.mark.parametrize(
    ("wish", "environment", "url", "model"),
    [
        pytest.param("", {"OPENAI_API_KEY": "k"}, "https://api.openai.com/v1", "gpt-4o-mini", id="key"),
        pytest.param("", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://p/v1/"}, "http://p/v1", "gpt-4o-mini", id="proxy"),
        pytest.param("openai/big", {"OPENAI_API_KEY": "k"}, "https://api.openai.com/v1", "big", id="named"),
        pytest.param("a/b@http://h:1/v1", {}, "http://h:1/v1", "a/b", id="address"),
    ],
)  # fmt: skip
async def test_the_wish_wins_then_the_environment(wish: str, environment: dict[str, str], url: str, model: str) -> None:
    backend = (await choose(wish, environment)).backend
    assert (backend.type, backend.base_url, backend.models[0].model) == (BackendType.OPENAI, url, model)


@pytest.mark.parametrize(
    ("wish", "environment", "kind", "url", "model"),
    [
        pytest.param("", {"ANTHROPIC_API_KEY": "k"}, "Anthropic", "https://api.anthropic.com/v1", "claude-haiku-4-5", id="key"),
        pytest.param("", {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_MODEL": "m"}, "Anthropic", "https://api.anthropic.com/v1", "m", id="key-and-model"),
        pytest.param("", {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"}, "OpenAI", "https://api.openai.com/v1", "gpt-4o-mini", id="both-keys"),
        pytest.param("anthropic/big", {"OPENAI_API_KEY": "k"}, "Anthropic", "https://api.anthropic.com/v1", "big", id="named"),
        pytest.param("ollama/qwen3:4b", {}, "Ollama", "http://127.0.0.1:11434", "qwen3:4b", id="ollama"),
    ],
)  # fmt: skip
async def test_each_vendor_is_spoken_to_by_its_own_wire(
    wish: str, environment: dict[str, str], kind: str, url: str, model: str
) -> None:
    chosen = await choose(wish, environment)
    backend = chosen.backend
    assert (backend.type.value, backend.base_url, backend.models[0].model) == (kind, url, model)
    assert ("on this machine" in chosen.label) == (kind == "Ollama")


async def test_a_key_goes_to_its_own_server_only_and_is_never_shown() -> None:
    chosen = await choose("", {"OPENAI_API_KEY": "sk-secret"})
    assert "sk-secret" not in repr(chosen) + repr(chosen.backend) + chosen.label
    assert (await choose("ollama/x", {"OPENAI_API_KEY": "sk-secret"})).keys is None


async def test_a_script_is_chosen_where_it_is_wished_for_even_with_a_key() -> None:
    assert (await choose("scripted", {"OPENAI_API_KEY": "k"})).backend.type is BackendType.SCRIPTED


@pytest.mark.parametrize("wish", ["gpt", "x@ftp://h", "openai/"])
async def test_a_wish_that_cannot_be_read_says_the_forms(wish: str) -> None:
    with pytest.raises(click.BadParameter):
        await choose(wish, {})


def test_the_script_tells_of_dragons_and_quotes_what_was_said_before() -> None:
    lines = scripted().backend.script
    story = next(line for line in lines if line.match in "讲一个关于龙的短故事" and line.match)
    assert "龙" in story.reply
    assert "{previous}" in lines[-1].reply


def test_the_banner_says_what_is_no_boundary_and_how_to_change_the_model() -> None:
    facts = Facts(8080, [("storyteller", "Storyteller")], "scripted", "export X", "", Path("/d"))
    said = banner(facts)
    assert "ws://localhost:8080/role/Storyteller" in said
    assert "NO boundary" in said
    assert "export X" in said
    assert "gVisor" in banner(Facts(1, [], "m", "", "gVisor (runsc)", Path("/d")))
