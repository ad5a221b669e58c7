"""The rendered CRDs on a real apiserver: accepted, explained, and strict with messages that help."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.apiserver import ApiServer

ROLE: dict[str, Any] = {
    "apiVersion": "rolehost.io/v1alpha1",
    "kind": "Role",
    "metadata": {"name": "storyteller"},
    "spec": {"template": {"persona": {"system": "You tell stories."}}},
}
REVISION: dict[str, Any] = {
    "apiVersion": "rolehost.io/v1alpha1",
    "kind": "RoleRevision",
    "metadata": {"name": "storyteller-0123456789"},
    "spec": {
        "roleName": "storyteller",
        "sequence": 1,
        "hashVersion": 1,
        "hash": "0" * 64,
        "template": {"persona": {"system": "You tell stories."}, "model": {"params": {"temperature": 0.5}}},
        "frozen": {"logic/a.py": "x = 1"},
    },
}
BACKEND: dict[str, Any] = {
    "apiVersion": "rolehost.io/v1alpha1",
    "kind": "ModelBackend",
    "metadata": {"name": "tried-here"},
    "spec": {"type": "Scripted", "script": [{"reply": "You said: {message}"}]},
}


def with_value(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `manifest` with `value` at a dotted path under spec."""
    changed = copy.deepcopy(manifest)
    *parents, last = path.split(".")
    place = changed["spec"]
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return changed


def create(apiserver: ApiServer, namespace: str, manifest: dict[str, Any], *, dry_run: bool = True) -> str:
    """What kubectl says to `create`: empty where the manifest is accepted."""
    options = ["--dry-run=server"] if dry_run else []
    done = apiserver.kubectl(
        "create", "-n", namespace, "-f", "-", *options, stdin=yaml.safe_dump(manifest), check=False
    )
    return done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def namespace(role_api: ApiServer) -> str:
    return role_api.namespace("crd")


OBJECTIVE = {"name": "fast", "type": "Latency", "thresholdMilliseconds": 1500, "target": "99"}
ACCEPTED = {
    "the-smallest": ROLE,
    "logic-of-a-bundle": with_value(
        ROLE, "template.logic", {"bundle": "sha256:" + "a" * 64, "entrypoint": "story:storyteller"}
    ),
    "logic-inline": with_value(ROLE, "template.logic", {"inline": "from rolehost import Role\nr = Role('r')\n"}),
    "free-form-params": with_value(
        ROLE, "template.model", {"params": {"temperature": 0.7, "stop": ["a"], "x": {"y": 1}}}
    ),
    "an-slo": with_value(
        ROLE, "slo", {"objectives": [OBJECTIVE, {"name": "good", "type": "Success", "target": "93.056"}]}
    ),
    "a-template": with_value(
        ROLE, "template", {"persona": {"template": "tutor_v1", "variables": {"subject": "the tides"}}}
    ),
    "a-revision": REVISION,
    "a-scripted-backend": BACKEND,
    "an-openai-backend": with_value(
        BACKEND | {"spec": {"type": "OpenAI", "baseURL": "http://vllm.models:8000/v1"}},
        "models",
        [{"name": "small", "model": "tiny"}],
    ),
}

SHOWN = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
for manifest in yaml.safe_load_all("---\n".join(re.findall(r"```yaml\n(.*?)```", SHOWN, re.DOTALL))):
    ACCEPTED[f"the-page-of-models-{manifest['metadata']['name']}"] = manifest


@pytest.mark.parametrize("case", ACCEPTED)
def test_good_manifests_are_accepted(role_api: ApiServer, namespace: str, case: str) -> None:
    assert create(role_api, namespace, ACCEPTED[case]) == ""


REFUSED = {
    "a-typo": (with_value(ROLE, "template.personna", {"system": "x"}), 'unknown field "spec.template.personna"'),
    "no-persona": (with_value(ROLE, "template", {}), "give persona.system, or personaFrom"),
    "no-templates-name": (with_value(ROLE, "template", {"persona": {"template": "Tutor"}}), "template"),
    "two-personas": (
        with_value(ROLE, "template.personaFrom", {"configMapRef": {"name": "cat"}}),
        "give persona or personaFrom, not both",
    ),
    "a-target-of-100": (
        with_value(ROLE, "slo", {"objectives": [OBJECTIVE | {"target": "100"}]}),
        "100 leaves no error budget and can never be kept",
    ),
    "a-target-of-words": (
        with_value(ROLE, "slo", {"objectives": [OBJECTIVE | {"target": "most"}]}),
        "target must be at least 93.056 and below 100",
    ),
    "a-target-that-can-never-page": (
        with_value(ROLE, "slo", {"objectives": [OBJECTIVE | {"target": "93.055"}]}),
        "an outage of everything would page nobody",
    ),
    "latency-without-threshold": (
        with_value(ROLE, "slo", {"objectives": [{"name": "fast", "type": "Latency", "target": "99"}]}),
        "a Latency objective needs thresholdMilliseconds",
    ),
    "two-objectives-of-one-name": (with_value(ROLE, "slo", {"objectives": [OBJECTIVE, OBJECTIVE]}), "Duplicate value"),
    "two-logic-sources": (
        with_value(ROLE, "template.logic", {"inline": "x = 1", "configMapRef": {"name": "code"}}),
        "give exactly one of bundle, inline and configMapRef",
    ),
    "a-bundle-without-entrypoint": (
        with_value(ROLE, "template.logic", {"bundle": "sha256:" + "a" * 64}),
        "a bundle needs an entrypoint, e.g. story:storyteller",
    ),
    "a-bundle-by-tag": (with_value(ROLE, "template.logic", {"bundle": "latest", "entrypoint": "a:b"}), "sha256"),
    "an-unknown-permission": (with_value(ROLE, "template.permissions", ["shell"]), "spec.template.permissions[0]"),
    "too-many-replicas": (with_value(ROLE, "scaling", {"maxReplicas": 100000}), "spec.scaling.maxReplicas"),
    "more-at-least-than-at-most": (
        with_value(ROLE, "scaling", {"minReplicas": 11}),
        "minReplicas must not be above maxReplicas",
    ),
    "a-name-with-dots": (ROLE | {"metadata": {"name": "a.b"}}, "a Role's name is a DNS label"),
    "a-word-for-a-number": (with_value(ROLE, "scaling", {"minReplicas": "two"}), "spec.scaling.minReplicas"),
    "ollama-without-url": (BACKEND | {"spec": {"type": "Ollama"}}, "http://ollama.models:11434 for Ollama"),
    "anthropic-without-models": (
        BACKEND | {"spec": {"type": "Anthropic", "baseURL": "https://api.anthropic.com/v1"}},
        "this backend needs at least one model",
    ),
    "a-fallback-of-vectors": (
        BACKEND
        | {
            "spec": {
                "type": "Embeddings",
                "baseURL": "http://x/v1",
                "models": [{"name": "e", "model": "e"}],
                "fallbacks": ["other"],
            }
        },
        "vectors of two models do not compare",
    ),
    "a-fallback-that-is-no-name": (with_value(BACKEND, "fallbacks", ["Not A Name"]), "spec.fallbacks[0]"),
    "two-budgets-of-one-tenant": (
        with_value(BACKEND, "budgets", {"tenants": [{"name": "acme"}, {"name": "acme"}]}),
        "Duplicate value",
    ),
    "a-budget-below-nothing": (
        with_value(BACKEND, "budgets", {"perTenant": {"tokensPerDay": -1}}),
        "spec.budgets.perTenant.tokensPerDay",
    ),
    "a-backend-without-url": (
        BACKEND | {"spec": {"type": "OpenAI"}},
        "give baseURL: http://vllm.models:8000/v1 for OpenAI",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_manifests_are_refused_and_told_why(role_api: ApiServer, namespace: str, case: str) -> None:
    manifest, reason = REFUSED[case]
    said = create(role_api, namespace, manifest)
    assert reason in said
    assert "type conversion error" not in said


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("sequence", 2, id="its-number"),
        pytest.param("template.persona.system", "You lie.", id="its-persona"),
        pytest.param("frozen", {"logic/a.py": "x = 2"}, id="its-frozen-code"),
        pytest.param("template.model.params", {"temperature": 0.9}, id="its-free-form-params"),
        pytest.param("template.model.params", {}, id="its-params-away"),
    ],
)
def test_a_revision_never_changes(role_api: ApiServer, path: str, value: Any) -> None:
    namespace = role_api.namespace("crd")
    assert create(role_api, namespace, REVISION, dry_run=False) == ""
    changed = yaml.safe_dump(with_value(REVISION, path, value))
    done = role_api.kubectl("replace", "-n", namespace, "-f", "-", stdin=changed, check=False)
    assert "a revision never changes; change the Role and a new one is made" in done.stderr


def test_defaults_reach_no_template(role_api: ApiServer) -> None:
    namespace = role_api.namespace("crd")
    manifest = with_value(with_value(ROLE, "template.model", {}), "sessions", {})
    assert create(role_api, namespace, manifest, dry_run=False) == ""
    stored = role_api.get("rhr", "storyteller", "-n", namespace)["spec"]
    assert stored["template"] == manifest["spec"]["template"]
    assert stored["sessions"]["turnTimeoutSeconds"] == 30


def test_kubectl_explains_every_field(role_api: ApiServer) -> None:
    said = role_api.kubectl("explain", "rhr.spec.template", "--recursive").stdout
    assert "persona" in said
    assert "memoryMebibytes" in said
    assert "The system prompt" in role_api.kubectl("explain", "rhr.spec.template.persona.system").stdout


def test_columns_tell_what_matters(role_api: ApiServer) -> None:
    namespace = role_api.namespace("crd")
    role_api.kubectl("create", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(ROLE))
    ready = {"type": "Ready", "status": "False", "reason": "NoGateway", "message": "No gateway reports"}
    status = {
        "status": {"conditions": [ready | {"lastTransitionTime": "2026-01-01T00:00:00Z"}], "stableRevision": "x-1"}
    }
    role_api.kubectl(
        "patch",
        "rhr",
        "storyteller",
        "-n",
        namespace,
        "--subresource=status",
        "--type=merge",
        f"-p={json.dumps(status)}",
    )
    header, row = role_api.kubectl("get", "rhr", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert header.split() == ["NAME", "READY", "REVISION", "CANARY", "PERCENT", "REASON", "AGE", "LATEST", "MESSAGE"]
    assert row.split()[:4] == ["storyteller", "False", "x-1", "NoGateway"]
