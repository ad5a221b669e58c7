"""A persona as the model is told it: a template of ours, field by field with what the Role says otherwise."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple

from rolehost_api.crd.role import Persona
from rolehost_api.persona.language import InvalidTemplate, names, render
from rolehost_api.persona.templates import NAMES, Template, template

ORIGINAL = "original"
"""In a field that the Role gives: what the template has there."""


class Texts(NamedTuple):
    system: str
    greeting: str


class Finding(NamedTuple):
    field: str
    """Of the persona, e.g. variables.subject."""
    message: str
    hint: str = ""


def resolved(persona: Persona) -> tuple[Texts, list[Finding]]:
    """The texts, and all that is wrong; where something is, they are empty.

    A persona with neither template nor variables is taken as it is, whatever braces are in it.

    >>> resolved(Persona(system="You are {{ a cat."))[0].system
    'You are {{ a cat.'
    >>> resolved(Persona(system="You are {{ who }}.", variables={"who": "a cat"}))[0].system
    'You are a cat.'
    >>> [one.field for one in resolved(Persona(system="{{ who }}", variables={"hwo": "a cat"}))[1]]
    ['system', 'variables.hwo']
    """
    if not persona.template and not persona.variables:
        return Texts(persona.system, persona.greeting), []
    findings: list[Finding] = []
    base: Template | None = None
    if persona.template:
        if persona.template not in NAMES:
            near = get_close_matches(persona.template, NAMES, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(NAMES)}"
            return Texts("", ""), [Finding("template", f"there is no template {persona.template!r}", hint)]
        base = template(persona.template)
    values = _values(persona, base, findings)
    texts = Texts(*(_text(field, persona, base, values, findings) for field in ("system", "greeting")))
    findings += _unused(persona, base, values)
    return (Texts("", ""), findings) if findings else (texts, [])


def _values(persona: Persona, base: Template | None, findings: list[Finding]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, variable in (base.variables if base is not None else {}).items():
        if variable.default is None and not persona.variables.get(name):
            findings.append(
                Finding("variables", f"{name} is missing: {variable.about}", f"Write variables: {{{name}: …}}")
            )
        values[name] = variable.default or ""
    return values | persona.variables


def _text(
    field: str, persona: Persona, base: Template | None, values: Mapping[str, str], findings: list[Finding]
) -> str:
    given = getattr(persona, field)
    try:
        known = dict(values)
        if base is not None:
            original = render(getattr(base, field), values)
            if not given:
                return original
            known[ORIGINAL] = original
        return render(given, known)
    except InvalidTemplate as error:
        findings += (Finding(field, str(fault), fault.hint) for fault in error.faults)
        return ""


def _unused(persona: Persona, base: Template | None, values: Mapping[str, str]) -> list[Finding]:
    """Variables that nothing reads: one of them is misspelt, or left over."""
    known = names(persona.system) | names(persona.greeting) | (base.variables.keys() if base is not None else set())
    found = []
    for name in persona.variables:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"The texts read: {', '.join(sorted(known)) or 'none'}"
            found.append(Finding(f"variables.{name}", "is read by no text", hint))
    return found
