"""`rolehost push`: a Role's logic to the gateway, named by its digest from then on."""

from contextlib import ExitStack
from pathlib import Path

import click

from rolehost.cli import checkout
from rolehost.cli.edit import with_digest
from rolehost.cli.failing import told
from rolehost.cli.kubectl import Kubectl, cluster_options
from rolehost.cli.reach import Gateway, gateway, gateway_options
from rolehost_api.errors import BadRequest


@click.command()
@click.argument("path", default=".", type=click.Path(exists=True, path_type=Path))
@click.option("--write", is_flag=True, help="Write the digest into the manifest, for GitOps.")
@click.option("--no-push", is_flag=True, help="Only compute the digest; no gateway is asked.")
@gateway_options
@cluster_options
def push(path: Path, write: bool, no_push: bool, url: str, key: str, context: str, platform_namespace: str) -> None:
    """Push the logic beside the manifest in PATH and print its digest."""
    with told(), ExitStack() as held:
        found = None
        all_packed = [(here, packed_logic(here)) for here in map(checkout.read, checkout.manifests(path))]
        for here, packed in all_packed:
            if not packed:
                raise BadRequest(f"no Role in {here.manifest} has files of its own", hint="There is nothing to push")
        if not no_push:
            found = held.enter_context(gateway(url, key, Kubectl(context, platform_namespace), local=False))
        for here, packed in all_packed:
            if found is not None:
                send(found, packed)
            for bundle in packed.values():
                click.echo(bundle.digest)
            if write:
                here.manifest.write_text(filled(here, packed), encoding="utf-8", newline="")
                click.echo(f"{here.manifest} names it now", err=True)


def packed_logic(here: checkout.Checkout) -> dict[str, checkout.Packed]:
    """Role → its logic's files, for the Roles of a checkout that have some."""
    return {
        role.metadata.name: checkout.pack(here, role)
        for role in here.roles
        if checkout.uses_files(role.spec.template.logic)
    }


def send(found: Gateway, packed: dict[str, checkout.Packed]) -> None:
    """Push them; harmless where the gateway has them already."""
    for bundle in {bundle.digest: bundle for bundle in packed.values()}.values():
        answer = found.ask("PUT", "/v1/bundles", bundle.archive, "application/gzip")
        if answer["digest"] != bundle.digest:
            raise BadRequest("the gateway computed another digest than this machine", hint="Are both of one release?")


def filled(here: checkout.Checkout, packed: dict[str, checkout.Packed]) -> str:
    """The manifest's text with the digests in it."""
    text = here.text
    for role, bundle in packed.items():
        text = with_digest(text, role, bundle.digest)
    return text
