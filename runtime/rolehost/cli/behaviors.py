"""`rolehost explain` and `rolehost generate`: what a Role's behaviour compiles to, to look at and to commit."""

from collections.abc import Iterator
from pathlib import Path

import click

from rolehost.cli import checkout
from rolehost.cli.failing import told
from rolehost.cli.schema import rendered
from rolehost_api.crd.role import Role
from rolehost_api.errors import InvalidManifest
from rolehost_runtime.core.behavior.declaring import graph_of
from rolehost_runtime.core.behavior.stating import bare
from rolehost_runtime.core.dsl.compiled import Compiled
from rolehost_runtime.core.dsl.compiling import Surroundings, compile_behavior
from rolehost_runtime.core.dsl.drawing import diagrams
from rolehost_runtime.core.dsl.modules import module
from rolehost_runtime.core.dsl.prompting import SYSTEM, lines, prompt_of
from rolehost_runtime.core.lorebook.playing import always


@click.command()
@click.argument("path", default=".", type=click.Path(exists=True, path_type=Path))
@click.option("--graph", "only", flag_value="graph", help="Only the graph, as mermaid.")
@click.option("--prompt", "only", flag_value="prompt", help="Only the prompt.")
def explain(path: Path, only: str | None) -> None:
    """Show what the Roles in PATH compile to: the graph, and the prompt with the part that a model can cache.

    Edges and hooks of Python are not in it: nothing is imported.
    """
    with told():
        for here, role in _roles(path):
            compiled = _compiled(role)
            shown = []
            if only != "prompt" and compiled.behavior is not None:
                drawn = diagrams(compiled.behavior)
                shown.append(drawn if only else f"```mermaid\n{drawn}\n```")
            if only != "graph":
                shown.append("\n".join(_prompt(here, role, compiled)))
            click.echo("\n\n".join(shown if only else [f"## {role.metadata.name}", *shown]))


@click.command()
@click.argument("path", default=".", type=click.Path(exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a file is not what the manifest says.")
@click.option("--schema", "print_schema", is_flag=True, help="Only print the JSON schema of manifests, for editors.")
def generate(path: Path, check: bool, print_schema: bool) -> None:
    """Write the behaviour of the Roles in PATH as typed Python beside their manifests, for editors and type checkers."""
    if print_schema:
        click.echo(rendered(), nl=False)
        return
    stale = 0
    with told():
        for here, role in _roles(path):
            compiled = _compiled(role)
            if compiled.behavior is None:
                continue
            made = module(role.metadata.name, compiled, here.manifest.name)
            for suffix, text in ((".py", made.source), (".pyi", made.stub)):
                stale += _written(here.folder / f"{made.name}{suffix}", text, check=check)
    if check and stale:
        raise click.exceptions.Exit(1)


def _written(file: Path, text: str, *, check: bool) -> bool:
    """Whether the file was another."""
    if file.exists() and file.read_text() == text:
        return False
    if check:
        click.echo(f"{file} is not what the manifest says; run `rolehost generate`", err=True)
    else:
        file.write_text(text)
        click.echo(f"wrote {file}")
    return True


def _roles(path: Path) -> Iterator[tuple[checkout.Checkout, Role]]:
    for manifest in checkout.manifests(path):
        try:
            here = checkout.read(manifest)
        except InvalidManifest as error:
            raise click.ClickException("\n".join(one.shown(str(manifest)) for one in error.findings)) from None
        for role in here.roles:
            yield here, role


def _compiled(role: Role) -> Compiled:
    template = role.spec.template
    return compile_behavior(template.behavior, Surroundings(template.logic is not None, template.permissions))


def _prompt(here: checkout.Checkout, role: Role, compiled: Compiled) -> Iterator[str]:
    template = role.spec.template
    persona = always(template.persona)
    origin = f"spec.template.persona.template {template.persona.template}" if template.persona.template else SYSTEM
    if template.persona_from is not None:
        origin = "spec.template.personaFrom"
        persona = here.config_maps.get(template.persona_from.config_map_ref.name, {}).get("system", "")
    graph = graph_of(bare(role.metadata.name, compiled), compiled) if compiled.behavior is not None else None
    wanted = template.memory.prompt
    reminded = wanted.max_characters if wanted.enabled else 0
    yield from lines(prompt_of(persona, graph, has_logic=template.logic is not None, reminded=reminded, origin=origin))
