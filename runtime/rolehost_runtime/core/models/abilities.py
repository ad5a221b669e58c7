"""What a model can do: a table by type of its backend, which each model's own `abilities` refine."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from rolehost_api.crd.modelbackend import Abilities, BackendSpec, BackendType, CacheSalt, LateText

VENDOR = "api.openai.com"
"""Whose servers take what others of its wire may refuse."""


class Able(NamedTuple):
    """Shapes as in crd.modelbackend.Abilities; 0 of a number: no bound that is known."""

    stream: bool = True
    tools: bool = False
    token_counting: bool = True
    local: bool = False
    context_tokens: int = 0
    max_output_tokens: int = 0
    late_text: LateText = LateText.MESSAGE
    cache_salt: CacheSalt = CacheSalt.PROMPT
    cache_key: bool = False


BY_TYPE: Mapping[BackendType, Able] = {
    BackendType.OPENAI: Able(tools=True),
    BackendType.ANTHROPIC: Able(tools=True, context_tokens=200_000, max_output_tokens=4096),
    BackendType.OLLAMA: Able(tools=True, local=True),
    BackendType.EMBEDDINGS: Able(stream=False),
    BackendType.SCRIPTED: Able(
        tools=True, token_counting=False, local=True, late_text=LateText.SYSTEM, cache_salt=CacheSalt.NONE
    ),
    BackendType.PLUGIN: Able(),
}


def able(backend: BackendSpec, model: str) -> Able:
    """What the model that the server calls `model` can do.

    >>> from rolehost_api.crd.modelbackend import ServedModel
    >>> tiny = ServedModel(name="tiny", model="t-1", abilities=Abilities(context_tokens=2048))
    >>> backend = BackendSpec(type=BackendType.OLLAMA, base_url="http://o", models=[tiny])
    >>> able(backend, "t-1")[:6]
    (True, True, True, True, 2048, 0)
    >>> able(backend, "other").context_tokens
    0
    >>> able(BackendSpec(type=BackendType.OPENAI, base_url="https://api.openai.com/v1"), "gpt").cache_key
    True
    """
    usual = BY_TYPE[backend.type]
    if backend.type is BackendType.OPENAI and is_vendors(backend):
        usual = usual._replace(late_text=LateText.SYSTEM, cache_key=True)
    own = next((one.abilities for one in backend.models if one.model == model), None)
    if own is None or own == Abilities():
        return usual
    said = {name: getattr(own, name) for name in Able._fields}
    return usual._replace(**{name: value for name, value in said.items() if value is not None})


def is_vendors(backend: BackendSpec) -> bool:
    return urlsplit(backend.base_url).hostname == VENDOR
