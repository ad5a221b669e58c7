"""`rolehost import` and `rolehost export`: Roles from character cards, and back."""

from pathlib import Path
from typing import Any

import click
import yaml

from rolehost.cards import charx, png, reading
from rolehost.cards.card import card
from rolehost.cards.conversion import backfilled, exported, persona, role_name, template
from rolehost.cards.reading import Container
from rolehost.cli.checkout import MANIFEST
from rolehost.cli.failing import told
from rolehost.cli.terminal import visible
from rolehost_api.errors import BadRequest, InvalidManifest
from rolehost_api.manifest import check
from rolehost_api.manifest.metadata import is_label
from rolehost_api.manifest.reading import plain, read
from rolehost_api.names import API_VERSION

KEPT = "card"
"""The name of the file, without its ending, under which a card stays beside its Role."""


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--name", help="The Role's name; otherwise made of the character's.")
def import_(file: Path, folder: Path | None, name: str | None) -> None:
    """Make a Role of the character card in FILE (PNG, JSON or CHARX), in FOLDER (default: the Role's name).

    The card itself is kept beside the manifest: `rolehost export` brings every field of it back.
    """
    with told():
        content = _content(file)
        found = reading.read(content)
        source = card(found.document)
        name = name or role_name(source.name)
        if not is_label(name):
            raise BadRequest(
                f"{name!r} cannot be a Role's name" if name else "no Role's name can be made of the character's",
                hint="Write --name with at most 63 of a-z, 0-9 and '-'",
                code="invalid_name",
            )
        made = persona(source)
        text = _manifest(name, made.display_name, made.says, template(found.document))
        if findings := check(text, local=True):
            raise InvalidManifest(f"the Role that {file} would make", findings)
        target = folder or Path(name)
        files: dict[str, bytes] = {MANIFEST: text.encode(), f"{KEPT}.{found.container.value}": content}
        there = [one for one in files if (target / one).exists()]
        if there:
            raise BadRequest(f"{target / there[0]} is already there", hint="Choose another folder; nothing was written")
        target.mkdir(parents=True, exist_ok=True)
        for one, written in files.items():
            (target / one).write_bytes(written)
    for one in files:
        click.echo(f"  {target / one}")
    for remark in made.remarks:
        click.echo(visible(remark))
    click.echo(f"\nNext:\n  rolehost dev {target}")


@click.command()
@click.argument("role", type=click.Path(path_type=Path), default=Path())
@click.option("--out", type=click.Path(path_type=Path), help="*.png, *.json or *.charx; otherwise as it was imported.")
def export(role: Path, out: Path | None) -> None:
    """Write the character card of ROLE: a manifest, or the folder that holds its role.yaml."""
    with told():
        manifest = role / MANIFEST if role.is_dir() else role
        content = manifest.read_bytes()
        if findings := check(content, local=True):
            raise InvalidManifest(str(manifest), findings)
        roles = [one for one in map(plain, read(content)) if one.get("kind") == "Role"]
        if len(roles) != 1:
            raise BadRequest(f"{manifest} holds {len(roles)} Roles", hint="Export a file with one", code="no_role")
        base = _base(manifest.parent)
        kind = _container(out) if out is not None else (base[0].container if base is not None else Container.JSON)
        target = out or Path(f"{roles[0]['metadata']['name']}.{kind.value}")
        if target.exists():
            raise BadRequest(f"{target} is already there", hint="Write --out with another name")
        document = exported(roles[0], base[0].document if base is not None else None)
        target.write_bytes(_written(kind, document, base))
    click.echo(f"  {target}")


Base = tuple[reading.Found, bytes]


def _content(file: Path) -> bytes:
    if file.stat().st_size > reading.MAX_FILE_BYTES:
        raise BadRequest(f"{file} is over {reading.MAX_FILE_BYTES >> 20} MiB", code="invalid_card")
    return file.read_bytes()


def _base(folder: Path) -> Base | None:
    """The card that a Role was imported from."""
    for kind in Container:
        file = folder / f"{KEPT}.{kind.value}"
        if file.is_file():
            content = _content(file)
            return reading.read(content), content
    return None


def _container(out: Path) -> Container:
    try:
        return Container(out.suffix.removeprefix(".").lower())
    except ValueError:
        raise BadRequest(f"{out} names no kind of card", hint="Write *.png, *.json or *.charx") from None


def _written(kind: Container, document: dict[str, Any], base: Base | None) -> bytes:
    """The file. The picture, and what else lies in an archive, come from the file that was imported, where it was of that kind."""
    content = reading.encoded(document)
    same = base is not None and base[0].container is kind
    if kind is Container.JSON:
        return content
    if kind is Container.CHARX:
        return charx.with_card(base[1] if base is not None and same else None, content)
    cards = {png.V2: reading.encoded(backfilled(document))}
    if document.get("spec") == "chara_card_v3":
        cards[png.V3] = content
    return png.with_texts(base[1] if base is not None and same else png.blank(), cards)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, which people can read and edit."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _manifest(name: str, display_name: str, says: dict[str, Any], rest: dict[str, Any]) -> str:
    role = {
        "apiVersion": API_VERSION,
        "kind": "Role",
        "metadata": {"name": name},
        "spec": {"displayName": display_name, "template": {"persona": says, **rest}},
    }
    return yaml.dump(role, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
