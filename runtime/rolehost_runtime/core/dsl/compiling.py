"""`spec.template.behavior` → tables, predicates and changes; everything that is wrong with it at once.

What is broken in form is left out and the rest is checked all the same; what cannot be said of a part (which nodes are
reachable, say) is not said of one that is broken.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import yaml
from msgspec import Struct

from rolehost_api.crd.role import DEFAULT_PERMISSIONS
from rolehost_api.errors import Finding, InvalidManifest
from rolehost_runtime.core.behavior.tables import Behavior
from rolehost_runtime.core.dsl import graphs, states
from rolehost_runtime.core.dsl.compiled import Change, Compiled, Field
from rolehost_runtime.core.dsl.expressions import (
    Expression,
    InvalidExpression,
    Names,
    Predicate,
    Problem,
    Span,
    compile_expression,
    compile_value,
)
from rolehost_runtime.core.dsl.forms import MAX_EXPRESSIONS, BehaviorForm, Changes
from rolehost_runtime.core.dsl.graphs import Drawn
from rolehost_runtime.core.dsl.holding import never
from rolehost_runtime.core.dsl.places import Source
from rolehost_runtime.core.dsl.reading import Reader, Unusable, form, nodes_of

PATH = "spec.template.behavior"
_FORM = form(BehaviorForm)


class Surroundings(Struct, frozen=True):
    """What the rest of the Role says."""

    has_logic: bool = False
    """There is Python, whose edges, hooks and State nobody sees here."""
    permissions: Sequence[str] = DEFAULT_PERMISSIONS
    names: Names | None = None
    """The types of the State, where the logic was loaded; None: not known."""


class Outcome(NamedTuple):
    compiled: Compiled
    """Of what is right; complete where there are no findings."""
    findings: list[Finding]


def compile_node(node: yaml.Node, text: str = "", around: Surroundings | None = None, path: str = PATH) -> Outcome:
    """Compile a YAML node of the manifest whose whole text is `text`. Never raises."""
    reader = Reader(Source(text), path)
    try:
        plain = reader.read(node, _FORM)
    except Unusable:
        return Outcome(Compiled(), reader.findings)
    compiler = _Compiler(reader, around or Surroundings())
    return Outcome(compiler.compile(plain), sorted(reader.findings, key=lambda one: (one.line or 0, one.column or 0)))


def compile_behavior(value: Mapping[str, Any], around: Surroundings | None = None) -> Compiled:
    """Compile what is no text any more, as a revision has it. Raises InvalidManifest with all that is wrong."""
    if not value:
        return Compiled()
    try:
        node = nodes_of(dict(value))
    except (RecursionError, yaml.YAMLError):
        raise InvalidManifest(PATH, [Finding(PATH, "is nested too deeply, or holds what is no JSON")]) from None
    compiled, findings = compile_node(node, "", around)
    if findings:
        raise InvalidManifest(PATH, findings)
    return compiled


class _Compiler:
    def __init__(self, reader: Reader, around: Surroundings) -> None:
        self._reader = reader
        self._around = around
        self._room = MAX_EXPRESSIONS
        self._predicates: dict[str, Predicate] = {}
        self._lost: set[str] = set()
        """Fields of the state whose declaration is wrong, which was told."""

    def compile(self, plain: dict[str, Any]) -> Compiled:
        declared = plain.get("state") or {}
        drawn = graphs.drawn(self._reader, plain)
        fields = states.fields(self._reader, declared, has_logic=self._around.has_logic)
        self._lost = {path[6:] for path in self._reader.broken if path.startswith("state.")} | (
            declared.keys() - fields
        )
        names = self._names(fields)
        known = {name for one in drawn for name in one.form.nodes}
        for one in drawn:
            self._conditions(one, names, known)
        changes = tuple(change for one in drawn for change in self._changes(one, fields, names))
        graphs.check(self._reader, drawn, has_logic=self._around.has_logic)
        self._permissions()
        return Compiled(
            behavior=Behavior(tuple(one.table() for one in drawn)) if drawn else None,
            predicates=self._predicates,
            state=tuple(fields.values()),
            changes=changes,
            policy=plain.get("policy") or "",
        )

    def _names(self, fields: Mapping[str, Field]) -> Names:
        if self._around.names is not None:
            return self._around.names
        if self._around.has_logic:
            return Names()
        return states.names(fields.values(), self._lost)

    def _permissions(self) -> None:
        """Where no Python replies, the model does."""
        if not self._around.has_logic and "model.call" not in self._around.permissions:
            self._reader.say(
                "permission_missing",
                "",
                "needs the model to answer, and permissions do not grant model.call",
                "Add model.call to spec.template.permissions",
                name=True,
            )

    # ── expressions ─────────────────────────────────────────────────────────────────

    def _conditions(self, drawn: Drawn, names: Names, known: set[str]) -> None:
        for place, edge in drawn.edges:
            path = f"{drawn.path}edges[{place}].when"
            if self._reader.full or not edge.when.strip() or not self._fits(edge.when, path):
                continue
            try:
                predicate = self._predicates.get(edge.when) or compile_expression(edge.when, names)
            except InvalidExpression as invalid:
                for problem in invalid.problems:
                    self._reader.say_within(path, problem)
                continue
            self._predicates[edge.when] = predicate
            if problems := graphs.named_nodes(predicate.tree, known):
                for problem in problems:
                    self._reader.say_within(path, problem)
            elif (reason := never(predicate.tree, predicate.types, {"node": frozenset({edge.source})})) is not None:
                drawn.dead.add(place)
                self._reader.say_within(path, reason)

    def _fits(self, text: str, path: str) -> bool:
        fitted, self._room = self._room > 0, self._room - len(text)
        if fitted and self._room <= 0:
            self._reader.say(
                "budget",
                path,
                f"is where all expressions together pass {MAX_EXPRESSIONS} characters",
                "Decide in a hook what takes so many conditions",
            )
        return self._room > 0

    def _changes(self, drawn: Drawn, fields: Mapping[str, Field], names: Names) -> list[Change]:
        found = []
        for name, node in sorted(drawn.form.nodes.items()):
            for moment, door in (("enter", node.enter), ("exit", node.exit)):
                found += self._door(drawn, name, "enter" if moment == "enter" else "exit", door, fields, names)
        return found

    def _door(
        self,
        drawn: Drawn,
        node: str,
        moment: Literal["enter", "exit"],
        door: Changes,
        fields: Mapping[str, Field],
        names: Names,
    ) -> list[Change]:
        found = []
        for name, value in sorted(door.set.items()):  # the cluster keeps objects in no order of their own
            path = f"{drawn.path}nodes.{node}.{moment}.set.{name}"
            field = fields.get(name)
            if field is None and name in self._lost:
                continue
            if field is None:
                code, message, hint = states.unknown(name, fields, has_logic=self._around.has_logic)
                self._reader.say(code, path, message, hint, name=True)
            elif (expression := self._value(path, value, field, names)) is not None:
                found.append(Change(drawn.name, node, moment, name, field.scope, expression))
        return found

    def _value(self, path: str, value: Any, field: Field, names: Names) -> Expression | None:
        text = states.said(value)
        if text is None or not self._fits(text, path):
            if text is None:
                self._reader.say("wrong_type", path, "must be a plain value", "Write an expression in quotes")
            return None
        try:
            expression = compile_value(text, names)
        except InvalidExpression as invalid:
            for problem in invalid.problems:
                self._reader.say_within(path, problem)
            return None
        if not states.takes(field.type, expression.type):
            message = f"{field.name} is {field.type}, and this is {expression.type}"
            hint = states.instead(field.type, expression.type, text)
            self._reader.say_within(path, Problem("type_mismatch", message, Span(0, len(text)), hint))
            return None
        return expression
