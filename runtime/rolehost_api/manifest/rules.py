"""The rules between fields, said again in Python.

The apiserver knows them as CEL (`__cel__` of the same types). Here each is a function of
the part as plain values, giving (field, message, hint); absent and null are the same, as
they are for the apiserver. A rule says nothing of a value whose type is wrong: the walk does.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.crd.role import Logic, Objective, RoleTemplate, Scaling

Fault = tuple[str, str, str]
Part = Mapping[str, Any]


def template_rules(part: Part) -> Iterator[Fault]:
    persona = part.get("persona")
    system = persona.get("system", "") if isinstance(persona, dict) else ""
    if persona is not None and part.get("personaFrom") is not None:
        yield "personaFrom", "is given beside persona", "Give persona or personaFrom, not both"
    elif "personaFrom" not in part and system in ("", None):
        yield "persona", "has no text", "Write persona.system: who the Role is and how it speaks; or give personaFrom"


def _given(part: Part, *names: str) -> list[str]:
    """Those that are there; empty text is the same as none, and a wrong type is another fault than absence."""
    return [name for name in names if part.get(name) not in (None, "")]


def logic_rules(part: Part) -> Iterator[Fault]:
    given = _given(part, "bundle", "inline", "configMapRef")
    if len(given) > 1:
        yield given[1], f"is given beside {given[0]}", "Give exactly one of bundle, inline and configMapRef"
    elif not given and _given(part, "entrypoint"):
        yield (
            "bundle",
            "is missing: on a cluster the logic is a pushed bundle",
            "Run `rolehost deploy`, which pushes the files beside this manifest and fills it in; "
            "or `rolehost push --write`",
        )
    elif not given:
        yield "", "has no source", "Give exactly one of bundle, inline and configMapRef"
    elif given == ["bundle"] and not _given(part, "entrypoint"):
        yield "entrypoint", "is missing: a bundle needs one", "Write module:object, e.g. story:storyteller"


def local_logic_rules(part: Part) -> Iterator[Fault]:
    """In a checkout an entrypoint alone means the files beside the manifest."""
    if _given(part, "entrypoint") and not _given(part, "bundle", "inline", "configMapRef"):
        return
    yield from logic_rules(part)


def objective_rules(part: Part) -> Iterator[Fault]:
    threshold = part.get("thresholdMilliseconds")
    if part.get("type") == "Latency" and threshold is None:
        yield (
            "thresholdMilliseconds",
            "is missing: a Latency objective needs it",
            "A turn at or under it is good, e.g. thresholdMilliseconds: 1500",
        )
    yield from _target(part.get("target"))


def _target(target: object) -> Iterator[Fault]:
    """Percent as text; from 50 to below 100.

    >>> [fault[1] for fault in _target("99.5")]
    []
    >>> [fault[1] for fault in _target("100")]
    ['can never be kept: 100 leaves no error budget']
    >>> [fault[1] for fault in _target("49.9")]
    ['is below 50']
    """
    if not isinstance(target, str):
        return
    try:
        percent = float(target)
    except ValueError:
        yield "target", "is no number", 'Write a percentage such as "99.5"'
        return
    if percent >= 100:
        yield "target", "can never be kept: 100 leaves no error budget", 'Write less than 100, e.g. "99.9"'
    elif percent < 50:
        yield "target", "is below 50", 'A promise starts at "50"; most Roles take "99" or "99.5"'
    elif not percent >= 50:
        yield "target", "is no number", 'Write a percentage such as "99.5"'


def scaling_rules(part: Part) -> Iterator[Fault]:
    """What is not given counts with its default, as the apiserver fills it in first.

    >>> [fault[0] for fault in scaling_rules({"minReplicas": 11})]
    ['minReplicas']
    >>> [fault[0] for fault in scaling_rules({"minReplicas": 11, "maxReplicas": 11})]
    []
    """
    fewest, most = (_or_default(part.get(name), default) for name, default in (("minReplicas", 1), ("maxReplicas", 10)))
    if fewest is not None and most is not None and fewest > most:
        said = "" if "maxReplicas" in part else ", the default"
        yield "minReplicas", f"is above maxReplicas, {most}{said}", "Raise maxReplicas, or lower minReplicas"


def _or_default(given: object, default: int) -> int | None:
    """None for what is no number: that is told elsewhere."""
    if given is None:
        return default
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def backend_rules(part: Part) -> Iterator[Fault]:
    if part.get("type") == "OpenAI":
        if not part.get("baseURL"):
            yield "baseURL", "is missing: an OpenAI backend needs it", "e.g. http://vllm.models:8000/v1"
        if not part.get("models"):
            yield "models", "is empty: an OpenAI backend needs at least one", "e.g. [{name: small, model: qwen3-8b}]"
    if part.get("type") == "Scripted" and part.get("apiKey") is not None:
        yield "apiKey", "is of no use to a Scripted backend", "Leave it out"


RULES: Mapping[type[Struct], Callable[[Part], Iterator[Fault]]] = {
    RoleTemplate: template_rules,
    Logic: logic_rules,
    Objective: objective_rules,
    Scaling: scaling_rules,
    BackendSpec: backend_rules,
}
LOCAL_RULES: Mapping[type[Struct], Callable[[Part], Iterator[Fault]]] = {**dict(RULES), Logic: local_logic_rules}
