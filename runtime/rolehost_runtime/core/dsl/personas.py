"""What is wrong with a persona's template and variables, at its place in the manifest."""

import msgspec
import yaml

from rolehost_api.crd.role import Persona
from rolehost_api.errors import Finding
from rolehost_api.persona.resolving import resolved

PATH = "spec.template.persona"


def persona_findings(node: yaml.Node | None) -> list[Finding]:
    """Of the node of `persona`; what is wrong with its form is told elsewhere.

    >>> node = yaml.compose("system: '{{ who }}'\\nvariables: {hwo: a cat}")
    >>> [(one.path, one.line) for one in persona_findings(node)]
    [('spec.template.persona.system', 1), ('spec.template.persona.variables.hwo', 2)]
    """
    if not isinstance(node, yaml.MappingNode):
        return []
    fields = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    try:
        persona = msgspec.convert({name: _plain(value) for name, value in fields.items() if name in _KNOWN}, Persona)
    except msgspec.ValidationError:
        return []
    lines = {name: value.start_mark.line + 1 for name, value in fields.items()}
    return [
        Finding(f"{PATH}.{one.field}", one.message, one.hint, line=lines.get(one.field.partition(".")[0]))
        for one in resolved(persona)[1]
    ]


_KNOWN = ("system", "greeting", "template", "variables")


def _plain(node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return {key.value: value.value for key, value in node.value}
    return node.value
