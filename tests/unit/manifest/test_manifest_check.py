"""A manifest's faults: all at once, each with its place and what to write instead."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.proof import NUMBERS, SOAK

from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.role import Role
from rolehost_api.errors import InvalidManifest
from rolehost_api.manifest import check, load
from rolehost_api.manifest.reading import MAX_BYTES, MAX_DEPTH

HEAD = "apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}\n"
CAT = HEAD + "spec:\n  template:\n    persona: {system: You are a cat.}\n"


def role(body: str) -> str:
    """A Role whose line 6 on is `body`, under spec."""
    return CAT + body


def test_the_smallest_role_is_six_lines_and_right() -> None:
    assert check(CAT) == []
    (cat,) = load(CAT)
    assert isinstance(cat, Role)
    assert cat.spec.template.persona.system == "You are a cat."


@pytest.mark.parametrize(
    ("body", "path", "line", "said"),
    [
        pytest.param("  displayname: x\n", "spec.displayname", 7, "Did you mean `displayName`?", id="typo"),
        pytest.param("  persona: {}\n", "spec.persona", 7, "It belongs to spec.template", id="wrong-place"),
        pytest.param("  displayName: 5\n", "spec.displayName", 7, 'Put it in quotes: "5"', id="number-for-text"),
        pytest.param("  displayName:\n", "spec.displayName", 7, "is empty", id="null"),
        pytest.param("  displayName: a\n  displayName: b\n", "spec.displayName", 8, "given twice", id="twice"),
        pytest.param("  sessions: []\n", "spec.sessions", 7, "must be an object, not a list", id="list-for-object"),
        pytest.param("  sessions: {maxPerPod: 0}\n", "spec.sessions.maxPerPod", 7, "least allowed, 1", id="bound"),
        pytest.param("  sessions: {maxPerPod: 1.5}\n", "spec.sessions.maxPerPod", 7, "whole number", id="no-floats"),
        pytest.param("  sessions: {maxPerPod: yes}\n", "spec.sessions.maxPerPod", 7, "whole number", id="boolean"),
        pytest.param("  sessions: {maxPerPod: '9'}\n", "spec.sessions.maxPerPod", 7, "without quotes", id="quoted"),
        pytest.param("  logs: Tennant\n", "spec.logs", 7, "Did you mean `Tenant`?", id="enum"),
        pytest.param("  slo: {}\n", "spec.slo.objectives", 7, "is missing", id="required"),
        pytest.param("  slo: {objectives: []}\n", "spec.slo.objectives", 7, "at least 1 item", id="too-few"),
    ],
)
def test_a_fault_names_its_place_and_the_cure(body: str, path: str, line: int, said: str) -> None:
    (finding,) = check(role(body))
    assert (finding.path, finding.line) == (path, line)
    assert said in str(finding)


def test_a_host_that_cannot_be_granted_is_told_in_words() -> None:
    (finding,) = check(CAT + '    permissions: [model.call, "http:api.acme.com", "http:*.com"]\n')
    assert (finding.path, finding.line) == ("spec.template.permissions[2]", 7)
    assert "names no host that can be granted" in str(finding)
    assert "http:*.acme.com" in str(finding)


@pytest.mark.parametrize(
    ("objective", "field", "said"),
    [
        pytest.param("type: Success, target: '100'", "target", "can never be kept", id="hundred"),
        pytest.param("type: Success, target: '93.055'", "target", "can never page", id="too-low-to-page"),
        pytest.param("type: Success, target: 99.5", "target", 'Put it in quotes: "99.5"', id="float"),
        pytest.param("type: Success, target: nan", "target", "is no number", id="nan"),
        pytest.param("type: Success, target: '99.1234'", "target", "does not match", id="too-fine"),
        pytest.param("type: Latency, target: '99'", "thresholdMilliseconds", "1500", id="latency-without-threshold"),
    ],
)
def test_an_impossible_promise_is_refused_in_words(objective: str, field: str, said: str) -> None:
    (finding,) = check(role(f"  slo: {{objectives: [{{name: a, {objective}}}]}}\n"))
    assert finding.path == f"spec.slo.objectives[0].{field}"
    assert said in str(finding)


def test_two_objectives_of_one_name_are_refused() -> None:
    one = "{name: a, type: Success, target: '99'}"
    (finding,) = check(role(f"  slo:\n    objectives:\n    - {one}\n    - {one}\n"))
    assert finding.path == "spec.slo.objectives[1].name"


def test_all_faults_are_told_at_once_and_by_line() -> None:
    findings = check(role("  displayname: x\n  logs: On\n  scaling: {minReplicas: 0}\n"))
    assert [finding.line for finding in findings] == [7, 8, 9]


@pytest.mark.parametrize(
    ("logic", "in_a_checkout", "on_a_cluster"),
    [
        pytest.param("{entrypoint: 'story:cat'}", [], ["logic.bundle"], id="files-beside-the-manifest"),
        pytest.param("{entrypoint: 'story:cat', bundle: ''}", [], ["logic.bundle"], id="empty-digest"),
        pytest.param(f"{{entrypoint: 'story:cat', bundle: 'sha256:{'0' * 64}'}}", [], [], id="digest"),
        pytest.param(
            f"{{bundle: 'sha256:{'0' * 64}'}}", ["logic.entrypoint"], ["logic.entrypoint"], id="no-entrypoint"
        ),
        pytest.param("{inline: 'x = 1'}", [], [], id="inline"),
        pytest.param(
            "{inline: x, configMapRef: {name: code}}", ["logic.configMapRef"], ["logic.configMapRef"], id="two"
        ),
        pytest.param("{}", ["logic"], ["logic"], id="none"),
    ],
)
def test_logic_comes_from_one_source(logic: str, in_a_checkout: list[str], on_a_cluster: list[str]) -> None:
    text = role(f"    logic: {logic}\n")
    assert [finding.path for finding in check(text, local=True)] == [f"spec.template.{path}" for path in in_a_checkout]
    assert [finding.path for finding in check(text)] == [f"spec.template.{path}" for path in on_a_cluster]


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        pytest.param(CAT.replace("v1alpha1", "v1"), "apiVersion", "Write rolehost.io/v1alpha1", id="version"),
        pytest.param(CAT.replace("kind: Role", "kind: Rol"), "kind", "Did you mean `Role`?", id="kind"),
        pytest.param(CAT.replace("kind: Role\n", ""), "kind", "is missing", id="no-kind"),
        pytest.param(CAT.replace("name: cat", "name: Cat"), "metadata.name", "lower-case", id="name"),
        pytest.param(CAT.replace("name: cat", "nam: cat"), "metadata.nam", "Did you mean `name`?", id="metadata"),
        pytest.param(HEAD, "spec", "is missing", id="no-spec"),
        pytest.param(HEAD + "spec: {template: {}}", "spec.template.persona", "persona.system", id="no-persona"),
        pytest.param("", "manifest", "holds no Role", id="empty"),
        pytest.param("kind: List", "apiVersion", "is missing", id="no-version"),
        pytest.param("- a", "manifest", "is not an object", id="a-list"),
        pytest.param("a: &x [1]\nb: *x", "manifest", "alias", id="alias"),
        pytest.param("[" * (MAX_DEPTH + 1), "manifest", "levels deep", id="deep"),
        pytest.param("a:\n\t- b", "manifest", "not valid YAML", id="tab"),
        pytest.param("#" * (MAX_BYTES + 1), "manifest", "over 1 MiB", id="large"),
        pytest.param(f"[{'1,' * 60_000}]", "manifest", "values", id="many"),
        pytest.param("a: \x07", "manifest", "characters", id="control-character"),
        pytest.param(role("    model: {params: {seed: 99999999999999999}}\n"), "spec.template.model.params.seed", "2^53", id="big-int"),
        pytest.param(role("    model: {params: {t: .inf}}\n"), "spec.template.model.params.t", "finite", id="infinite"),
        pytest.param(role("    model: {params: {t: !!binary aGk=}}\n"), "spec.template.model.params.t", "tag", id="tag"),
    ],
)  # fmt: skip
def test_what_is_no_manifest_of_ours_says_why(text: str, path: str, said: str) -> None:
    findings = [finding for finding in check(text) if finding.path == path]
    assert findings
    assert said in str(findings[0])


def test_free_form_parameters_may_hold_floats() -> None:
    assert check(role("    model: {params: {temperature: 0.7, stop: [a, b]}}\n")) == []


def test_a_file_may_hold_other_kinds_beside_ours() -> None:
    text = CAT + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n"
    assert [type(item) for item in load(text)] == [Role, dict]


def test_the_role_of_rbac_is_none_of_our_business() -> None:
    rbac = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: x}\nrules: []\n"
    assert check(CAT + rbac) == []


def test_a_model_backend_is_checked_by_the_same_walk() -> None:
    head = "apiVersion: rolehost.io/v1alpha1\nkind: ModelBackend\nmetadata: {name: big}\n"
    assert {finding.path for finding in check(head + "spec: {type: OpenAI}\n")} == {"spec.baseURL", "spec.models"}
    (backend,) = load(head + "spec: {type: OpenAI, baseURL: 'http://x/v1', models: [{name: a, model: b}]}\n")
    assert isinstance(backend, ModelBackend)


def test_load_raises_with_every_finding() -> None:
    with pytest.raises(InvalidManifest) as raised:
        load(role("  displayname: x\n  logs: On\n"), "role.yaml")
    assert len(raised.value.findings) == 2
    assert "role.yaml is not valid" in str(raised.value)


@pytest.mark.timeout(300 if not SOAK else 7200)
@settings(max_examples=NUMBERS.manifests_fuzzed)
@given(st.text(max_size=200) | st.text("{}[]:,-&*!|>'\"%@` \n#?ab0", max_size=80))
def test_no_text_makes_the_check_raise(text: str) -> None:
    check(text)
    check(CAT + "---\n" + text)


@pytest.mark.timeout(300 if not SOAK else 7200)
@settings(max_examples=NUMBERS.manifests_fuzzed)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["persona", "logic", "slo", "objectives", "name", "target"]), inner, max_size=3),
        max_leaves=12,
    )
)  # fmt: skip
def test_a_spec_that_passes_the_check_converts(value: object) -> None:
    import yaml

    text = HEAD + yaml.safe_dump({"spec": {"template": {"persona": {"system": "x"}}, "slo": value}})
    if not check(text):
        load(text)
