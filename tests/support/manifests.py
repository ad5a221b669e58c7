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

LORE = {
    "id": "mice",
    "content": "Mice live here.",
    "keys": ["mouse"],
    "secondKeys": ["cheese"],
    "logic": "AndAll",
    "excludedKeys": ["computer"],
    "regex": False,
    "caseSensitive": True,
    "wholeWords": False,
    "constant": False,
    "enabled": True,
    "order": 7,
    "priority": 3,
    "position": "AtDepth",
    "depth": 2,
    "speaker": "Persona",
    "scanDepth": 3,
    "probability": 50,
    "afterReplies": 1,
    "everyReplies": 2,
    "stickyTurns": 1,
    "cooldownTurns": 1,
    "afterMatch": "Never",
    "greeting": 1,
    "foundIn": "Both",
    "findsOthers": False,
}
ASKING = {
    "name": "judge",
    "model": {
        "backend": "default",
        "name": "small",
        "question": "Is it rude?",
        "categories": ["Harassment"],
        "action": "Flag",
        "timeoutSeconds": 5,
        "maxCharacters": 1000,
        "maxQuestions": 4,
    },
}

# Between them they hold every field that has a bound; each is good.
GOOD = {
    "all": role(
        {
            "persona": {
                "system": "You are a cat.",
                "greeting": "Meow.",
                "template": "tutor_v1",
                "variables": {"subject": "mice"},
                "greetings": ["Mrr."],
                "examples": [{"user": "Hi", "persona": "Meow."}],
                "lorebook": {"scanDepth": 4, "tokenBudget": 100, "recursive": True, "entries": [LORE]},
            },
            "permissions": ["model.call", "tool:x"],
            "logic": {"bundle": DIGEST, "entrypoint": "story:cat"},
            "model": {"backend": "default", "name": "small", "params": {"temperature": 0.5, "stop": ["a"]}},
            "state": {"schemaVersion": 2, "readsSchemaVersions": [1], "maxBytes": 65536},
            "resources": {"cpuMilli": 500, "memoryMebibytes": 512},
            "behavior": {"initial": "Doze", "nodes": {"Doze": {"prompt": "You doze."}}, "edges": [{"weight": 0.5}]},
            "prompt": {"plugin": "letters"},
            "memory": {
                "prompt": {"enabled": True, "maxItems": 6, "maxCharacters": 2000},
                "embeddings": {"backend": "vectors", "model": "small"},
            },
            "tools": [
                {
                    "name": "weather",
                    "mcp": {
                        "url": "https://mcp.example/mcp",
                        "headers": [{"name": "Authorization", "prefix": "Bearer", "key": "weather"}],
                    },
                }
            ],
            "safety": {
                "refusal": "No.",
                "crisisReply": "Call 988.",
                "crisisReplies": [{"language": "es", "text": "Llama al 024."}],
                "guards": [
                    {
                        "name": "house",
                        "stages": ["Input", "Output"],
                        "rules": [{"category": "Profanity", "words": ["damn"], "action": "Replace", "text": "***"}],
                        "onFailure": "Open",
                    }
                ],
            },
        },
        displayName="Cat",
        sessions={
            "maxPerPod": 64,
            "idleTimeoutSeconds": 900,
            "turnTimeoutSeconds": 30,
            "retentionSeconds": 86_400,
            "maxTurnTokens": 10_000,
        },
        scaling={"minReplicas": 2, "maxReplicas": 4, "targetSessionsPerPod": 16},
        slo={"windowDays": 28, "objectives": [OBJECTIVE]},
        rollout={
            "strategy": "Progressive",
            "steps": [{"percent": 5, "pauseSeconds": 60}, {"percent": 50, "pauseSeconds": 0}],
            "variants": [{"revision": "@r3", "percent": 50}],
            "analysis": {
                "intervalSeconds": 5,
                "minTurns": 50,
                "minSessions": 10,
                "marginPercent": 2,
                "falseAlarmsPerMillion": 1000,
                "metrics": [
                    {"name": "refusals", "promQL": "refusals", "max": "3", "failureLimit": 3, "action": "Rollback"},
                    {"name": "praise", "promQL": "praise", "min": "-0.5"},
                ],
                "gates": [{"name": "golden"}],
            },
            "warmUp": {"turns": 5, "message": "Hello."},
            "progressDeadlineSeconds": 3600,
            "watchSeconds": 600,
            "cooldownSeconds": 1800,
            "rollback": {"sessionPolicy": "Drain", "memory": "Quarantine"},
            "promotion": {"sessionPolicy": "MigrateAtTurn"},
            "drain": {"maxSeconds": 7200},
            "allowStateReset": True,
            "paused": True,
            "pinnedRevision": "@r2",
        },
        logs="Off",
        revisionHistoryLimit=0,
    ),
    "by-reference": role(
        {"personaFrom": {"configMapRef": {"name": "words"}}, "logic": {"configMapRef": {"name": "code"}}}
    ),
    "judged-by-a-least": role(
        rollout={"analysis": {"metrics": [{"name": "praise", "promQL": "praise", "min": "-0.5"}]}}
    ),
    "inline": role({"logic": {"inline": "x = 1", "entrypoint": ""}}),
    "asks-a-guard": role({"safety": {"guards": [ASKING]}}),
    "has-a-guard-of-the-platform": role(
        {"safety": {"guards": [{"name": "a", "plugin": {"name": "a", "timeoutSeconds": 5, "maxQuestions": 4}}]}}
    ),
    "scripted": backend(
        script=[{"match": "hi", "reply": "hello", "calls": [{"tool": "look", "arguments": {"city": "Oslo"}}]}],
        timeouts={
            "connectSeconds": 5,
            "firstTokenSeconds": 30,
            "firstTokenMilliseconds": 800,
            "idleSeconds": 30,
            "totalSeconds": 300,
        },
    ),
    "openai": OPENAI,
    "anthropic": backend(
        type="Anthropic",
        baseURL="https://models.example/v1",
        models=[
            {
                "name": "small",
                "model": "tiny",
                "abilities": {
                    "stream": True,
                    "tools": True,
                    "tokenCounting": True,
                    "local": False,
                    "contextTokens": 200_000,
                    "maxOutputTokens": 4096,
                    "lateText": "Opening",
                    "cacheSalt": "Prompt",
                    "cacheKey": False,
                },
                "price": {"inputMicros": 1_000_000, "cachedMicros": 100_000, "outputMicros": 5_000_000},
            }
        ],
        retries={"maxRetries": 2, "budgetPercent": 20, "maxWaitSeconds": 5},
        breaker={"failurePercent": 50, "minCalls": 10, "windowSeconds": 30, "openSeconds": 15},
        concurrency={"maxCalls": 256, "maxQueue": 256, "queueSeconds": 30},
        fallbacks=["default/small"],
        budgets={
            "perTenant": {"tokensPerDay": 2_000_000, "costMicrosPerDay": 5_000_000},
            "tenants": [{"name": "acme", "tokensPerDay": 20_000_000, "costMicrosPerDay": 0}],
        },
    ),
    "embeddings": backend(
        type="Embeddings",
        baseURL="http://vectors.models:8080/v1",
        models=[{"name": "small", "model": "tiny"}],
        batching={"maxTexts": 64, "maxTokens": 8192, "windowMilliseconds": 5},
    ),
    "plugin": backend(type="Plugin", plugin="parrot"),
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
    **{f"a-target-of-{target}": objective(target=target) for target in ("50", "093", "093.1", "93.055", "93.056", "93.06", "99.999")},
    **{f"a-target-of-{target}": objective(target=target) for target in ("100", "100.0", "101", "999", "1", "0", "9.")},
    **{f"a-target-of-{target!r}": objective(target=target) for target in ("99.9999", "nan", "1e2", "+99", ".9", "٩٩")},
    "two-objectives": role(slo={"objectives": [OBJECTIVE, {**OBJECTIVE, "name": "b"}]}),
    "two-objectives-of-one-name": role(slo={"objectives": [OBJECTIVE, OBJECTIVE]}),
    "two-models-of-one-name": put(OPENAI, "spec.models", [{"name": "a", "model": "b"}, {"name": "a", "model": "c"}]),
    "two-entries-of-one-id": role({"persona": {"system": "x", "lorebook": {"entries": [LORE, LORE]}}}),
    "an-entry-whose-id-is-no-word": role({"persona": {"system": "x", "lorebook": {"entries": [{**LORE, "id": "a b"}]}}}),
    "the-same-permission-twice": role({"permissions": ["model.call", "model.call"]}),
    **{f"permission-{one}": role({"permissions": [one]}) for one in ("memory.forget", "tool:*", "http:a.b:80", "*", "tool:")},
    **{
        f"permission-http:{one}": role({"permissions": [f"http:{one}"]})
        for one in ("a.b", "*.a.b", "*.a.b:8443", "a", "1.2.3.4:65535", "*", "*.b", "a.*", "A.b", "a.b/x", "a.b:0", "a.b:65536", "a..b",
                    "a.b.", "-a.b", "[::1]", "a.b:", "u@a.b", ".a.b", "xn--bcher-kva.example", "a_b.c")
    },
    "steps-that-fall": role(rollout={"steps": [{"percent": 50}, {"percent": 5}]}),
    "steps-that-stay": role(rollout={"steps": [{"percent": 5}, {"percent": 5}]}),
    "an-experiment-without-variants": role(rollout={"strategy": "Experiment"}),
    "an-experiment-with-no-variants": role(rollout={"strategy": "Experiment", "variants": []}),
    "an-experiment": role(rollout={"strategy": "Experiment", "variants": [{"revision": "@r3", "percent": 99}]}),
    "variants-that-leave-nothing": role(
        rollout={"variants": [{"revision": "@r3", "percent": 50}, {"revision": "@r4", "percent": 50}]}
    ),
    "a-metric-with-no-bound": role(rollout={"analysis": {"metrics": [{"name": "a", "promQL": "a"}]}}),
    "a-metric-with-two-bounds": role(
        rollout={"analysis": {"metrics": [{"name": "a", "promQL": "a", "max": "1", "min": "0"}]}}
    ),
    "more-pods-at-least-than-at-most": role(scaling={"minReplicas": 3, "maxReplicas": 2}),
    "as-many-pods-at-least-as-at-most": role(scaling={"minReplicas": 3, "maxReplicas": 3}),
    "more-pods-at-least-than-the-default-at-most": role(scaling={"minReplicas": 11}),
    "fewer-pods-at-most-than-the-default-at-least": role(scaling={"maxReplicas": 0}),
    "a-guard-without-rules-or-model": role({"safety": {"guards": [{"name": "a"}]}}),
    "a-guard-with-no-rules-and-a-model": role({"safety": {"guards": [{**ASKING, "rules": []}]}}),
    "a-guard-with-rules-and-a-model": role(
        {"safety": {"guards": [{**ASKING, "rules": [{"category": "Other", "words": ["x"]}]}]}}
    ),
    "a-guard-with-a-plugin-and-a-model": role({"safety": {"guards": [{**ASKING, "plugin": {"name": "a"}}]}}),
    "a-guard-with-a-model-that-replaces": role(
        {"safety": {"guards": [{**ASKING, "model": {**ASKING["model"], "action": "Replace"}}]}}  # type: ignore[dict-item]
    ),
    "a-guard-twice": role({"safety": {"guards": [ASKING, ASKING]}}),
    "a-rule-that-replaces-with-nothing": role(
        {"safety": {"guards": [{"name": "a", "rules": [{"category": "Other", "words": ["x"], "action": "Replace"}]}]}}
    ),
    "a-rule-that-blocks-with-text": role(
        {"safety": {"guards": [{"name": "a", "rules": [{"category": "Other", "words": ["x"], "text": "y"}]}]}}
    ),
    "crisis-replies-without-the-one": role({"safety": {"crisisReplies": [{"language": "es", "text": "x"}]}}),
    "no-crisis-replies-without-the-one": role({"safety": {"crisisReplies": []}}),
    "openai-without-url": without(OPENAI, "spec.baseURL"),
    "openai-with-an-empty-url": put(OPENAI, "spec.baseURL", ""),
    "openai-without-models": without(OPENAI, "spec.models"),
    "openai-with-no-models": put(OPENAI, "spec.models", []),
    "openai-without-a-key": without(OPENAI, "spec.apiKey"),
    "anthropic-without-url": without(GOOD["anthropic"], "spec.baseURL"),
    "anthropic-without-models": without(GOOD["anthropic"], "spec.models"),
    "embeddings-with-fallbacks": put(GOOD["embeddings"], "spec.fallbacks", ["default"]),
    "embeddings-with-no-fallbacks": put(GOOD["embeddings"], "spec.fallbacks", []),
    "plugin-without-its-name": backend(type="Plugin"),
    "plugin-with-no-name": backend(type="Plugin", plugin=""),
    "plugin-with-a-bad-name": backend(type="Plugin", plugin="../x"),
    "scripted-with-a-plugin": backend(plugin="parrot"),
    "openai-with-no-plugin": put(OPENAI, "spec.plugin", ""),
    "plugin-with-a-key-and-models": backend(
        type="Plugin", plugin="parrot", apiKey={"key": "x"}, models=[{"name": "a", "model": "b"}]
    ),
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
