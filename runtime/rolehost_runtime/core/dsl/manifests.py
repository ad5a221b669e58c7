"""The compiler as the contract's `check` and `load` take it: `check(text, compiler=COMPILER)`."""

from typing import Any

import msgspec
import yaml

from rolehost_api.crd.role import DEFAULT_PERMISSIONS, Persona
from rolehost_api.errors import Finding
from rolehost_api.manifest import Compiler
from rolehost_api.manifest.reading import line_of, plain, read
from rolehost_runtime.core.dsl.compiling import PATH, Outcome, Surroundings, compile_node
from rolehost_runtime.core.dsl.expressions import Names
from rolehost_runtime.core.dsl.personas import persona_findings
from rolehost_runtime.core.lorebook.checking import faults
from rolehost_runtime.core.prompt import estimate
from rolehost_runtime.core.safety import placing


def behavior_of(document: yaml.Node, text: str, names: Names | None = None) -> Outcome | None:
    """What the behaviour in a Role's document compiles to; None where the Role has none.

    `names`: the types of its State, where its logic was loaded.
    """
    template = _under(_under(document, "spec"), "template")
    node = _under(template, "behavior")
    return None if node is None else compile_node(node, text, _around(template, names))


def _around(template: yaml.Node | None, names: Names | None) -> Surroundings:
    permissions = _plain(_under(template, "permissions"))
    granted = permissions if isinstance(permissions, list) else list(DEFAULT_PERMISSIONS)
    return Surroundings(_under(template, "logic") is not None, [str(one) for one in granted], names)


def _under(node: yaml.Node | None, name: str) -> yaml.Node | None:
    fields = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for key, value in fields if isinstance(key, yaml.ScalarNode) and key.value == name), None)


def _plain(node: yaml.Node | None) -> Any:
    try:
        return None if node is None else plain(node)
    except ValueError:  # told where the field is checked
        return None


def _findings(document: yaml.Node, text: str) -> list[Finding]:
    outcome = behavior_of(document, text)
    persona = persona_findings(_under(_under(_under(document, "spec"), "template"), "persona"))
    safety = placing.findings(_under(_under(_under(document, "spec"), "template"), "safety"), text)
    behavior = outcome.findings if outcome is not None else []
    return [*persona, *behavior, *lore_findings(document), *safety]


BOOK = "spec.template.persona.lorebook"


def lore_findings(document: yaml.Node) -> list[Finding]:
    """What of a Role's lorebook can never be told; none where its form is wrong, for that is told of it already."""
    node = _under(_under(_under(document, "spec"), "template"), "persona")
    book = _under(node, "lorebook")
    if book is None:
        return []
    try:
        persona = msgspec.convert(_plain(node), Persona)
    except msgspec.ValidationError:
        return []
    greetings = len(persona.greetings) + 1 if persona.greeting or persona.greetings else 0
    entries = _under(book, "entries")
    nodes = entries.value if isinstance(entries, yaml.SequenceNode) else ()
    found = []
    for entry, field, message, hint in faults(persona.lorebook, greetings, estimate):
        part = book if entry is None else nodes[entry]
        at = _under(part, field.partition("[")[0])
        path = f"{BOOK}.{field}" if entry is None else f"{BOOK}.entries[{entry}].{field}"
        found.append(Finding(path, message, hint, line_of(at if at is not None else part)))
    return found


def behavior_findings(text: str, role: str, names: Names | None) -> list[Finding]:
    """What is wrong with the behaviour of the Role of that name in a manifest that was read before, where the types of
    what its logic keeps are known."""
    for document in read(text):
        if _plain(_under(_under(document, "metadata"), "name")) == role:
            outcome = behavior_of(document, text, names)
            return outcome.findings if outcome is not None else []
    return []


COMPILER = Compiler(PATH, _findings)
