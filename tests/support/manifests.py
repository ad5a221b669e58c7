"""Manifests to judge: good ones that hold every field, and ones with one fault each, by a name that says it."""

import copy
import re
from typing import Any

Object = dict[str, Any]
DIGEST = "sha256:" + "a" * 64
OBJECTIVE = {"name": "fast", "type": "Latency", "thresholdMilliseconds": 1500, "target": "99", "measure": "Complete"}


def role(template: Object | None = None, **spec: Any) -> Object:
    template = {"persona": {"system": "You are a cat."}, **(template or {})}
    if "personaFrom" in template:
        del template["persona"]
    return {
        "apiVersion": "rolehost.io/v1alpha1",
        "kind": "Role",
        "metadata": {"name": "cat"},
        "spec": {"template": template, **spec},
    }


def backend(**spec: Any) -> Object:
    return {
        "apiVersion": "rolehost.io/v1alpha1",
        "kind": "ModelBackend",
        "metadata": {"name": "judged"},
        "spec": {"type": "Scripted", **spec},
    }


OPENAI = backend(
    type="OpenAI",
    baseURL="https://models.example/v1",
    apiKey={"key": "openai"},
    models=[{"name": "small", "model": "tiny"}],
)

# Between them they hold every field that has a bound; each is good.
GOOD = {
    "all": role(
        {
            "persona": {"system": "You are a cat.", "greeting": "Meow."},
            "permissions": ["model.call", "tool:x"],
            "logic": {"bundle": DIGEST, "entrypoint": "story:cat"},
            "model": {"backend": "default", "name": "small", "params": {"temperature": 0.5, "stop": ["a"]}},
            "state": {"schemaVersion": 1, "maxBytes": 65536},
            "resources": {"cpuMilli": 500, "memoryMebibytes": 512},
        },
        displayName="Cat",
        sessions={"maxPerPod": 64, "idleTimeoutSeconds": 900, "turnTimeoutSeconds": 30, "retentionSeconds": 86_400},
        scaling={"minReplicas": 2, "maxReplicas": 4, "targetSessionsPerPod": 16},
        slo={"windowDays": 28, "objectives": [OBJECTIVE]},
        logs="Off",
        revisionHistoryLimit=0,
    ),
    "by-reference": role(
        {"personaFrom": {"configMapRef": {"name": "words"}}, "logic": {"configMapRef": {"name": "code"}}}
    ),
    "inline": role({"logic": {"inline": "x = 1", "entrypoint": ""}}),
    "scripted": backend(
        script=[{"match": "hi", "reply": "hello"}],
        timeouts={"connectSeconds": 5, "firstTokenSeconds": 30, "idleSeconds": 30, "totalSeconds": 300},
    ),
    "openai": OPENAI,
}


# ── paths ───────────────────────────────────────────────────────────────────────────


def steps(path: str) -> list[str | int]:
    return [int(word) if word.isdigit() else word for word in re.findall(r"[^.\[\]]+", path)]


def at(manifest: Object, path: str) -> Any:
    """What stands there; None where nothing does."""
    found: Any = manifest
    for step in steps(path):
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def put(manifest: Object, path: str, value: Any) -> Object:
    changed = copy.deepcopy(manifest)
    *parents, last = steps(path)
    place: Any = changed
    for step in parents:
        place = place[step]
    place[last] = value
    return changed


def without(manifest: Object, path: str) -> Object:
    changed = copy.deepcopy(manifest)
    *parents, last = steps(path)
    place: Any = changed
    for step in parents:
        place = place[step]
    del place[last]
    return changed


# ── the rules between fields, and what is required ──────────────────────────────────


def objective(**given: Any) -> Object:
    return role(slo={"objectives": [{key: value for key, value in {**OBJECTIVE, **given}.items() if value != ""}]})


RULES = {
    "a-name-of-63": role() | {"metadata": {"name": "a" * 63}},
    "a-name-of-64": role() | {"metadata": {"name": "a" * 64}},
    "a-name-with-dots": role() | {"metadata": {"name": "a.b"}},
    "a-name-that-ends-in-a-hyphen": role() | {"metadata": {"name": "a-"}},
    "a-name-in-capitals": role() | {"metadata": {"name": "Cat"}},
    "a-backends-name-with-dots": backend() | {"metadata": {"name": "a.b"}},
    "a-backends-name-with-two-dots": backend() | {"metadata": {"name": "a..b"}},
    "a-backends-name-of-253": backend() | {"metadata": {"name": "a" * 253}},
    "a-backends-name-of-254": backend() | {"metadata": {"name": "a" * 254}},
    "a-label": role() | {"metadata": {"name": "cat", "labels": {"example.com/team": "cats", "x": ""}}},
    "a-label-with-a-space": role() | {"metadata": {"name": "cat", "labels": {"team": "the cats"}}},
    "a-label-of-a-number": role() | {"metadata": {"name": "cat", "labels": {"team": 5}}},
    "a-labels-key-with-a-space": role() | {"metadata": {"name": "cat", "labels": {"the team": "cats"}}},
    "a-labels-key-with-two-slashes": role() | {"metadata": {"name": "cat", "labels": {"a/b/c": "cats"}}},
    "an-annotation": role() | {"metadata": {"name": "cat", "annotations": {"example.com/Note": "any text\n"}}},
    "an-annotations-key-with-a-space": role() | {"metadata": {"name": "cat", "annotations": {"the note": "x"}}},
    "metadata-with-a-typo": role() | {"metadata": {"name": "cat", "label": {}}},
    "a-field-beside-spec": role() | {"template": {}},
    "no-spec": {key: value for key, value in role().items() if key != "spec"},
    "no-persona": role() | {"spec": {"template": {}}},
    "an-empty-persona": role({"persona": {}}),
    "an-empty-system-prompt": role({"persona": {"system": ""}}),
    "a-greeting-only": role({"persona": {"greeting": "Hi"}}),
    "both-personas": put(GOOD["by-reference"], "spec.template.persona", {"system": "x"}),
    "a-reference-and-an-empty-persona": put(GOOD["by-reference"], "spec.template.persona", {}),
    "no-source-of-logic": role({"logic": {}}),
    "an-entrypoint-alone": role({"logic": {"entrypoint": "a:b"}}),
    "an-entrypoint-and-an-empty-bundle": role({"logic": {"entrypoint": "a:b", "bundle": ""}}),
    "an-empty-bundle": role({"logic": {"bundle": ""}}),
    "empty-inline-logic": role({"logic": {"inline": ""}}),
    "a-bundle-without-entrypoint": role({"logic": {"bundle": DIGEST}}),
    "a-bundle-with-an-empty-entrypoint": role({"logic": {"bundle": DIGEST, "entrypoint": ""}}),
    "a-bundle-and-inline": role({"logic": {"bundle": DIGEST, "entrypoint": "a:b", "inline": "x"}}),
    "a-bundle-and-empty-inline": role({"logic": {"bundle": DIGEST, "entrypoint": "a:b", "inline": ""}}),
    "inline-and-an-empty-bundle": role({"logic": {"bundle": "", "inline": "x"}}),
    "inline-and-a-reference": role({"logic": {"inline": "x", "configMapRef": {"name": "code"}}}),
    "an-entrypoint-of-inline": role({"logic": {"inline": "x", "entrypoint": "logic:cat"}}),
    "latency-without-threshold": objective(thresholdMilliseconds=""),
    "success-without-threshold": objective(thresholdMilliseconds="", type="Success"),
    "success-with-threshold": objective(type="Success"),
    **{f"a-target-of-{target}": objective(target=target) for target in ("50", "049", "050.5", "49.999", "99.999")},
    **{f"a-target-of-{target}": objective(target=target) for target in ("100", "100.0", "101", "999", "1", "0", "9.")},
    **{f"a-target-of-{target!r}": objective(target=target) for target in ("99.9999", "nan", "1e2", "+99", ".9", "٩٩")},
    "two-objectives": role(slo={"objectives": [OBJECTIVE, {**OBJECTIVE, "name": "b"}]}),
    "two-objectives-of-one-name": role(slo={"objectives": [OBJECTIVE, OBJECTIVE]}),
    "two-models-of-one-name": put(OPENAI, "spec.models", [{"name": "a", "model": "b"}, {"name": "a", "model": "c"}]),
    "the-same-permission-twice": role({"permissions": ["model.call", "model.call"]}),
    **{f"permission-{one}": role({"permissions": [one]}) for one in ("memory.forget", "tool:*", "http:a.b:80", "*", "tool:")},
    "more-pods-at-least-than-at-most": role(scaling={"minReplicas": 3, "maxReplicas": 2}),
    "as-many-pods-at-least-as-at-most": role(scaling={"minReplicas": 3, "maxReplicas": 3}),
    "more-pods-at-least-than-the-default-at-most": role(scaling={"minReplicas": 11}),
    "fewer-pods-at-most-than-the-default-at-least": role(scaling={"maxReplicas": 0}),
    "openai-without-url": without(OPENAI, "spec.baseURL"),
    "openai-with-an-empty-url": put(OPENAI, "spec.baseURL", ""),
    "openai-without-models": without(OPENAI, "spec.models"),
    "openai-with-no-models": put(OPENAI, "spec.models", []),
    "openai-without-a-key": without(OPENAI, "spec.apiKey"),
    "scripted-with-a-key": backend(apiKey={"key": "x"}),
    "scripted-with-a-url": backend(baseURL="http://a"),
    "a-url-of-another-scheme": put(OPENAI, "spec.baseURL", "ftp://a"),
    "a-url-with-a-vertical-tab": put(OPENAI, "spec.baseURL", "http://a\vb"),
    "a-url-with-a-wide-space": put(OPENAI, "spec.baseURL", "http://a\u00a0b"),
}  # fmt: skip


# ── how a person writes it ──────────────────────────────────────────────────────────

HEAD = "apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}\n"
BODY = HEAD + "spec:\n  template: {persona: {system: You are a cat.}}\n"
WORDS = (
    *("yes", "Yes", "on", "oN", "y", "Y", "n", "NO", "off", "True", "tRue", "FALSE"),
    *(
        "1_000",
        "1__0",
        "_1",
        "010",
        "09",
        "0o17",
        "0o18",
        "0O17",
        "0x1F",
        "0x",
        "0b11",
        "0B11",
        "-0b11",
        "+1",
        "-0",
        "5",
    ),
    *(
        "1:30",
        "1e3",
        "12e03",
        "1.0",
        "1.",
        ".5",
        "+.5",
        "1_0.5",
        "08.5",
        "-1.5e-3",
        "0.0",
        "1e2",
        "60e0",
        ".",
        "-",
        "+",
    ),
    *("2026-01-01", "2026-01-01T10:00:00Z", "=", "nUll", "'5'", '"\\u9f99"', "!!str 5", "!!str yes", "!!int '5'"),
)
UNREADABLE = (".inf", "-.INF", ".NaN")
WRITTEN = {
    **{f"text-{word}": f"{BODY}  displayName: {word}\n" for word in WORDS},
    **{f"count-{word}": f"{BODY}  sessions: {{turnTimeoutSeconds: {word}}}\n" for word in WORDS},
    "twice": f"{BODY}  displayName: a\n  displayName: b\n",
    "twice-the-same": f"{BODY}  logs: Tenant\n  logs: Tenant\n",
    **{f"logs-{word}": f"{BODY}  logs: {word}\n" for word in ("Off", "'Off'", "off", "Tenant")},
    "a-number-as-a-key": f"{BODY}  template: {{persona: {{system: x, 5: y}}}}\n".replace(
        "  template: {persona: {system: You are a cat.}}\n", ""
    ),
    "a-free-form-number-as-a-key": f"{HEAD}spec:\n  template: {{persona: {{system: x}}, model: {{params: {{5: y}}}}}}\n",
    "a-block-of-text": f"{HEAD}spec:\n  template:\n    persona:\n      system: |\n        a\n        b\n",
}
