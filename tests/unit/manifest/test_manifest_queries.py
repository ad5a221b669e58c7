"""A query that the operator would not ask is told before it is deployed."""

import pytest

from rolehost_api.manifest import check
from rolehost_runtime.core.dsl.manifests import COMPILER

ROLE = """\
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: cat}
spec:
  template: {persona: {system: Miau}}
  rollout:
    analysis:
      metrics:
      - {name: good, promQL: 'sad{revision="$candidate"}', max: "1"}
      - name: other
        promQL: QUERY
        max: "1"
"""


def test_it_is_told_with_its_place_and_what_to_write_instead() -> None:
    (found,) = check(ROLE.replace("QUERY", "sad{revision=$candidate}"), compiler=COMPILER)
    assert (found.path, found.line, found.code) == ("spec.rollout.analysis.metrics[1].promQL", 11, "invalid_promql")
    assert 'revision="$candidate"' in found.hint


@pytest.mark.parametrize("query", ["sad", "rate(sad[5m])", '""'])
def test_what_may_be_asked_or_was_told_already_is_not(query: str) -> None:
    assert [one for one in check(ROLE.replace("QUERY", query), compiler=COMPILER) if one.code == "invalid_promql"] == []


@pytest.mark.parametrize("metrics", ["{}", "[1, {}, {promQL: [x]}]", "null"])
def test_what_is_no_query_is_the_walks_to_tell(metrics: str) -> None:
    text = ROLE[: ROLE.index("      metrics:")] + f"      metrics: {metrics}\n"
    assert all(one.code != "invalid_promql" for one in check(text, compiler=COMPILER))


def test_a_rendered_manifest_is_held_to_what_the_apiserver_takes() -> None:
    assert check(ROLE.replace("QUERY", "sad[5m:1s]")) == []
