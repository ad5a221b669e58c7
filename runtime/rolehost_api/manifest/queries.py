"""PromQL in a Role, as the operator will read it. The apiserver takes any text there."""

from collections.abc import Iterator

import yaml

from rolehost_api.errors import Finding
from rolehost_api.manifest.reading import line_of
from rolehost_api.promql import InvalidQuery, confined

METRICS = ("spec", "rollout", "analysis", "metrics")
NAMES = dict.fromkeys(("tenant", "role", "candidate", "baseline"), "x")


def query_faults(document: yaml.Node) -> Iterator[Finding]:
    """What is wrong with the queries of a Role's custom metrics; what is no query at all the walk has told."""
    listed = document
    for name in METRICS:
        found = _value(listed, name)
        if found is None:
            return
        listed = found
    for place, one in enumerate(listed.value if isinstance(listed, yaml.SequenceNode) else ()):
        query = _value(one, "promQL")
        if not isinstance(query, yaml.ScalarNode) or not query.value:
            continue
        try:
            confined(str(query.value), NAMES)
        except InvalidQuery as error:
            at = f"{'.'.join(METRICS)}[{place}].promQL"
            yield Finding(at, error.message, error.hint, line_of(query), code=error.code)


def _value(node: yaml.Node, name: str) -> yaml.Node | None:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode) and key.value == name and isinstance(value, yaml.Node):
            return value
    return None
