"""`rolehost check`: everything that would be refused later, said now."""

from pathlib import Path

import click

from rolehost.cli import checkout
from rolehost.cli.failing import told
from rolehost.cli.importing import import_fault
from rolehost_api.crd.role import Role
from rolehost_api.errors import InvalidManifest, RolehostError


@click.command()
@click.argument("path", default=".", type=click.Path(exists=True, path_type=Path))
def check(path: Path) -> None:
    """Say what is wrong with the Roles in PATH (a folder or a manifest); exit 1 if anything is.

    Imports the logic in a process of its own, so run it on code that you trust.
    """
    faults = 0
    with told():
        for manifest in checkout.manifests(path):
            faults += _check(manifest)
    if faults:
        raise click.exceptions.Exit(1)


def _check(manifest: Path) -> int:
    try:
        found = checkout.read(manifest)
    except InvalidManifest as error:
        for finding in error.findings:
            click.echo(f"{manifest}:{finding.line or 1}: {finding}")
        return len(error.findings)
    faults = 0
    for role in found.roles:
        problems = faults_of(found, role)
        for problem in problems:
            click.echo(problem if manifest.parent == Path() else f"{manifest.parent}: {problem}")
        if not problems:
            click.echo(f"{role.metadata.name}: good")
        faults += len(problems)
    return faults


def faults_of(found: checkout.Checkout, role: Role) -> list[str]:
    """What is wrong with the files of the Role's logic."""
    logic = role.spec.template.logic
    if logic is None or not checkout.uses_files(logic):
        return []
    if syntax := checkout.syntax_faults(found.folder):
        return syntax
    try:
        packed = checkout.pack(found, role)
    except RolehostError as error:
        return [str(error)]
    if logic.bundle and logic.bundle != packed.digest:
        click.echo(
            f"note: {role.metadata.name} names another digest than its files have; `rolehost push --write`", err=True
        )
    fault = import_fault(found.folder, logic.entrypoint)
    return [fault] if fault else []
