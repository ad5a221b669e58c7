"""Whom a call may be given to, in which order, and what each of them is asked."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ServedModel
from rolehost_api.errors import BadRequest
from rolehost_runtime.core.models.abilities import able
from rolehost_runtime.core.prompt import PER_MESSAGE, estimate

COMMON = ("temperature", "top_p")
"""Parameters that every wire knows: a fallback on another wire gets no others."""


class Declared(Protocol):
    """The ModelBackends that there are, by name."""

    def get(self, name: str, /) -> BackendSpec | None: ...


class Candidate(NamedTuple):
    backend: str
    """Its name."""
    spec: BackendSpec
    model: str
    """What the server calls it."""

    @property
    def served(self) -> ServedModel | None:
        return next((one for one in self.spec.models if one.model == self.model), None)

    @property
    def label(self) -> str:
        """`backend/model` by the names that Roles use; the backend's alone where it has no models.

        >>> small = ServedModel(name="small", model="qwen3")
        >>> Candidate("vllm", BackendSpec(type=BackendType.OPENAI, models=[small]), "qwen3").label
        'vllm/small'
        >>> Candidate("default", BackendSpec(type=BackendType.SCRIPTED), "").label
        'default'
        """
        name = self.served.name if self.served is not None else self.model
        return f"{self.backend}/{name}" if name else self.backend


def chain(name: str, spec: BackendSpec, model: str, declared: Declared) -> list[Candidate]:
    """The asked one, then its fallbacks; each once, and none that is not declared or not a chat model.

    >>> b = BackendSpec(type=BackendType.SCRIPTED)
    >>> a = BackendSpec(type=BackendType.SCRIPTED, fallbacks=["gone", "b", "b", "a"])
    >>> [one.label for one in chain("a", a, "", {"a": a, "b": b})]
    ['a', 'b']
    """
    found = [Candidate(name, spec, model)]
    for entry in spec.fallbacks:
        backend, _, wanted = entry.partition("/")
        other = declared.get(backend)
        if other is None or other.type is BackendType.EMBEDDINGS:
            continue
        served = other.served(wanted)
        if served is None and (wanted or other.models):
            continue
        one = Candidate(backend, other, served.model if served is not None else "")
        if one.label not in {known.label for known in found}:
            found.append(one)
    return found


def share(deadline: float | None, now: float, candidates: int) -> float | None:
    """Until when the first of so many candidates may take for its first token: an equal part of the time that is left.

    >>> share(10.0, 4.0, 3), share(10.0, 4.0, 1), share(None, 4.0, 3)
    (6.0, 10.0, None)
    """
    return None if deadline is None else now + (deadline - now) / candidates


def params_for(params: Mapping[str, Any], *, same_wire: bool) -> dict[str, Any]:
    """
    >>> params_for({"temperature": 0, "logit_bias": {}}, same_wire=False)
    {'temperature': 0}
    """
    return {name: value for name, value in params.items() if same_wire or name in COMMON}


def bounded(one: Candidate, texts: Iterable[str], max_tokens: int | None) -> tuple[int, int | None]:
    """Tokens of the prompt, about, and the most that the answer may take: the least of what is asked and what can be.

    Raises BadRequest `context_too_long`.

    >>> from rolehost_api.crd.modelbackend import Abilities
    >>> tiny = ServedModel(name="tiny", model="t", abilities=Abilities(context_tokens=100, max_output_tokens=50))
    >>> one = Candidate("b", BackendSpec(type=BackendType.OPENAI, models=[tiny]), "t")
    >>> bounded(one, ["x" * 40], None), bounded(one, ["x" * 40], 20), bounded(one, ["x" * 264], 50)
    ((14, 50), (14, 20), (70, 30))
    """
    can = able(one.spec, one.model)
    sizes = [estimate(text) + PER_MESSAGE for text in texts]
    shown = sum(sizes)
    most = min(filter(None, (max_tokens, can.max_output_tokens)), default=None)
    if can.context_tokens:
        apart = one.spec.type is BackendType.EMBEDDINGS  # each text is read by itself
        room = can.context_tokens - (max(sizes, default=0) if apart else shown)
        if room <= 0:
            raise BadRequest(
                "the conversation is longer than this model can read",
                hint="Name a model with a larger context, or show it less of the history",
                code="context_too_long",
            )
        most = None if most is None else min(most, room)
    return shown, most
