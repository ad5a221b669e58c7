"""`rolehost check`: everything that would be refused later, said now."""

from collections.abc import Iterable
from pathlib import Path

import click

from rolehost.cli import checkout
from rolehost.cli.failing import told
from rolehost.cli.importing import imported
from rolehost_api.crd.role import Role
from rolehost_api.errors import Finding, InvalidManifest, RolehostError
from rolehost_runtime.core.dsl.manifests import behavior_findings
from rolehost_runtime.core.dsl.permits import refused, uses


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
            click.echo(finding.shown(str(manifest)))
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
    came = imported(found.folder, logic.entrypoint, role.spec.template.behavior)
    if came.fault:
        return [came.fault]
    findings = behavior_findings(found.text, role.metadata.name, came.names)
    return [*(one.shown(found.manifest.name) for one in findings), *_not_granted(found, role, came.files)]


def _not_granted(found: checkout.Checkout, role: Role, files: Iterable[str]) -> list[str]:
    """What the logic in these files asks of its turn and the Role's permissions do not grant."""
    faults = []
    for file in files:
        text = (found.folder / file).read_text("utf-8", "replace")
        lines = text.splitlines()
        for use in refused(uses(text), role.spec.template.permissions):
            wanted = f"{use.permission}HOST" if use.permission.endswith(":") else use.permission
            line = lines[use.line - 1]
            finding = Finding(
                use.said,
                f"needs the permission {wanted}",
                f"Add it to spec.template.permissions in {found.manifest.name}",
                use.line,
                use.column,
                "permission_missing",
                f"{line}\n{' ' * (use.column - 1)}{'^' * len(use.said)}" if line.isascii() else line,
            )
            faults.append(finding.shown(file))
    return faults
