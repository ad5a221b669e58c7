"""What is wrong with a Role's `safety`, in the place where it is written."""

import re

import msgspec
import yaml

from rolehost_api.crd.safety import Safety
from rolehost_api.errors import Finding
from rolehost_api.manifest.reading import plain
from rolehost_runtime.core.dsl.places import Source
from rolehost_runtime.core.safety.compiling import faults

PATH = "spec.template.safety"
MAX_FINDINGS = 100
_STEP = re.compile(r"[^.\[\]]+")


def findings(node: yaml.Node | None, text: str) -> list[Finding]:
    """Of the YAML node of `safety` in a manifest with that text. Nothing where its form is wrong: that is told elsewhere."""
    if node is None:
        return []
    try:
        safety = msgspec.convert(plain(node), Safety)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return []
    source = Source(text)
    found = []
    for fault in faults(safety)[:MAX_FINDINGS]:
        where = source.of(_at(node, fault.path))
        line, column = (where.line + 1, where.column + 1) if where else (None, None)
        excerpt = source.excerpt(where) if where else ""
        found.append(Finding(f"{PATH}.{fault.path}", fault.message, fault.hint, line, column, fault.code, excerpt))
    return found


def _at(node: yaml.Node, path: str) -> yaml.Node | None:
    """The value at a path."""
    for step in _STEP.findall(path):
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(step)]
        elif isinstance(node, yaml.MappingNode):
            found: yaml.Node | None = next((value for key, value in node.value if key.value == step), None)
            if found is None:
                return None
            node = found
    return node
