"""The rules between fields, said again in Python.

The apiserver knows them as CEL (`__cel__` of the same types). Here each is a function of
the part as plain values, giving (field, message, hint); absent and null are the same, as
they are for the apiserver. A rule says nothing of a value whose type is wrong: the walk does.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.crd.role import HTTP_PERMISSION, LEAST_TARGET, Logic, Objective, RoleTemplate, Scaling
from rolehost_api.crd.rollout import CustomMetric, Rollout
from rolehost_api.crd.safety import GuardRule, GuardSpec, Safety

Fault = tuple[str, str, str]
Part = Mapping[str, Any]


def template_rules(part: Part) -> Iterator[Fault]:
    persona = part.get("persona")
    system = persona.get("system", "") if isinstance(persona, dict) else ""
    if persona is not None and part.get("personaFrom") is not None:
        yield "personaFrom", "is given beside persona", "Give persona or personaFrom, not both"
    elif (
        "personaFrom" not in part
        and system in ("", None)
        and not (isinstance(persona, dict) and persona.get("template"))
    ):
        yield "persona", "has no text", "Write persona.system: who the Role is and how it speaks; or give personaFrom"

    yield from _permissions(part.get("permissions"))


def _permissions(said: object) -> Iterator[Fault]:
    """Hosts, in words: the pattern that the apiserver repeats says little to people.

    >>> [field for field, *_ in _permissions(["http:api.acme.com", "http:*.acme.com:8443", "http:*", "http:https://a.com"])]
    ['permissions[2]', 'permissions[3]']
    """
    for place, one in enumerate(said[:64] if isinstance(said, list) else ()):
        if isinstance(one, str) and one.startswith("http:") and not re.fullmatch(HTTP_PERMISSION, one):
            yield (
                f"permissions[{place}]",
                "names no host that can be granted",
                "Write http:api.acme.com, http:*.acme.com for what is below it, or http:api.acme.com:8443 for another port; "
                "all in lower case, and without https://",
            )


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
    """Percent as text; from LEAST_TARGET to below 100.

    >>> [fault[1] for fault in _target("99.5")]
    []
    >>> [fault[1] for fault in _target("100")]
    ['can never be kept: 100 leaves no error budget']
    >>> [fault[1] for fault in _target("93.055")]
    ['can never page: if every turn failed, its budget would last too long for that']
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
    elif percent < LEAST_TARGET:
        yield (
            "target",
            "can never page: if every turn failed, its budget would last too long for that",
            f'Write "{LEAST_TARGET}" or more; most Roles take "99" or "99.5"',
        )
    elif not percent >= LEAST_TARGET:
        yield "target", "is no number", 'Write a percentage such as "99.5"'


def rollout_rules(part: Part) -> Iterator[Fault]:
    """
    >>> [fault[0] for fault in rollout_rules({"steps": [{"percent": 25}, {"percent": 5}]})]
    ['steps[1].percent']
    >>> [fault[0] for fault in rollout_rules({"strategy": "Experiment"})]
    ['variants']
    >>> [fault[0] for fault in rollout_rules({"variants": [{"percent": 60}, {"percent": 40}]})]
    ['variants']
    """
    steps = _percents(part.get("steps"))
    for place, (before, here) in enumerate(itertools.pairwise(steps), 1):
        if here < before:
            yield f"steps[{place}].percent", f"is {here}, and the step before has {before}", "Let the percentages rise"
    if part.get("strategy") == "Experiment" and not part.get("variants"):
        yield "variants", "is missing: an Experiment needs one or two", "e.g. [{revision: '@r3', percent: 50}]"
    if sum(_percents(part.get("variants"))) > 99:
        yield "variants", "leave nothing for the stable revision", "Let their percentages sum up to 99 at most"


def _percents(listed: object) -> list[int]:
    """Of parts that have a whole number there."""
    parts = [one.get("percent") for one in listed[:64] if isinstance(one, dict)] if isinstance(listed, list) else []
    return [one for one in parts if isinstance(one, int) and not isinstance(one, bool)]


def metric_rules(part: Part) -> Iterator[Fault]:
    given = [name for name in ("max", "min") if name in part]
    if len(given) != 1:
        said = "are both given" if given else "and min are both missing"
        yield (
            "max" if not given else "min",
            said if not given else "is given beside max",
            "Give exactly one of max and min",
        )


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


_SERVERS = {
    "OpenAI": "http://vllm.models:8000/v1",
    "Anthropic": "https://api.anthropic.com/v1",
    "Ollama": "http://ollama.models:11434",
    "Embeddings": "http://tei.models:8080/v1",
}


def backend_rules(part: Part) -> Iterator[Fault]:
    kind = str(part.get("type"))
    if kind in _SERVERS:
        if not part.get("baseURL"):
            yield "baseURL", f"is missing: a backend of type {kind} needs it", f"e.g. {_SERVERS[kind]}"
        if not part.get("models"):
            hint = "e.g. [{name: small, model: qwen3-8b}]"
            yield "models", f"is empty: a backend of type {kind} needs at least one", hint
    if kind == "Scripted" and part.get("apiKey") is not None:
        yield "apiKey", "is of no use to a Scripted backend", "Leave it out"
    if kind == "Plugin" and not part.get("plugin"):
        yield "plugin", "is missing: a backend of type Plugin needs it", "The name of a ModelProvider of the image"
    if kind != "Plugin" and part.get("plugin"):
        yield "plugin", f"is of no use to a backend of type {kind}", "Write type: Plugin, or leave it out"
    if kind == "Embeddings" and part.get("fallbacks"):
        yield (
            "fallbacks",
            "are of no use to an Embeddings backend",
            "Vectors of two models do not compare; leave it out",
        )


def guard_rule_rules(part: Part) -> Iterator[Fault]:
    if part.get("action") == "Replace" and not part.get("text"):
        yield "text", "is missing: an action Replace needs it", 'Write what is said instead, e.g. text: "***"'
    elif part.get("text") and part.get("action", "Block") in ("Block", "Flag"):
        yield "text", "is of no use: only Replace writes something instead", "Write action: Replace, or leave text out"


def guard_rules(part: Part) -> Iterator[Fault]:
    given = [name for name in ("rules", "model", "plugin") if part.get(name) is not None]
    given = [name for name in given if name != "rules" or part["rules"] != []]
    if len(given) > 1:
        yield given[1], f"is given beside {given[0]}", "Make two guards of it: each has a name and a policy of its own"
    elif not given:
        yield "", "has no rules and asks nobody", "e.g. rules: [{category: Profanity, words: [damn], action: Flag}]"
    model = part.get("model")
    if isinstance(model, dict) and model.get("action") == "Replace":
        yield "model", "cannot replace: a model does not say which words", "Write action: Block or action: Flag"


def safety_rules(part: Part) -> Iterator[Fault]:
    if part.get("crisisReplies") and not part.get("crisisReply"):
        yield "crisisReply", "is missing", "Write what is said where the language of a message is none of crisisReplies"


RULES: Mapping[type[Struct], Callable[[Part], Iterator[Fault]]] = {
    RoleTemplate: template_rules,
    Logic: logic_rules,
    Objective: objective_rules,
    Scaling: scaling_rules,
    Rollout: rollout_rules,
    CustomMetric: metric_rules,
    BackendSpec: backend_rules,
    GuardRule: guard_rule_rules,
    GuardSpec: guard_rules,
    Safety: safety_rules,
}
LOCAL_RULES: Mapping[type[Struct], Callable[[Part], Iterator[Fault]]] = {**dict(RULES), Logic: local_logic_rules}
