"""Renders what others install and read: the CRDs of the chart, and the manifest reference.

`python -m rolehost_api.crd.render` writes both under the repository's root (`--root`,
else where it is called); `--check` writes nothing and exits 1 where a file is not what
the types say.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from rolehost_api.crd.kinds import CONTRACT_NUMBER, KINDS, Column, Kind
from rolehost_api.crd.reference import reference
from rolehost_api.crd.schema import describe, structural
from rolehost_api.names import CONTRACT, GROUP, VERSION

CRD_FOLDER = Path("charts/rolehost/templates/crds")
REFERENCE = Path("docs/reference/manifest.md")
NOTICE = "Rendered from the types by `make render`; do not edit."


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind, as a plain object."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(kind)},
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
    }
    if kind.status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "annotations": {CONTRACT: str(CONTRACT_NUMBER)}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.cls.__name__,
                "listKind": f"{kind.cls.__name__}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": ["rolehost"],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def crds() -> list[dict[str, Any]]:
    """All of our CustomResourceDefinitions."""
    return [crd(kind) for kind in KINDS]


def _root(kind: Kind) -> dict[str, Any]:
    schema = structural(kind.cls)
    properties = schema["properties"]
    properties["apiVersion"] = {"type": "string", "description": f"Always {GROUP}/{VERSION}."}
    properties["kind"] = {"type": "string", "description": f"Always {kind.cls.__name__}."}
    properties["metadata"] = {"type": "object"}
    properties["spec"] = describe(properties["spec"], "What is wanted.")
    if kind.status:
        status = structural(_field(kind.cls, "status"), defaults=False)
        properties["status"] = describe(status, "What is observed; written by the operator.")
    return schema


def _field(cls: type[msgspec.Struct], name: str) -> type:
    [field] = [field for field in msgspec.structs.fields(cls) if field.name == name]
    found: type = field.type
    return found


def _column(column: Column) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        shown["description"] = column.description
    if column.wide:
        shown["priority"] = 1
    return shown


class _Dumper(yaml.SafeDumper):
    """No aliases: what is written twice reads better than a reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def template(definition: dict[str, Any]) -> str:
    """A CRD as a template of the chart: installed with `crds.enabled`, left by uninstall with `crds.keep`."""
    text = yaml.dump(definition, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    if "{{" in text:
        raise ValueError("a description or rule holds '{{', which helm would read as its own")
    head = "  annotations:\n"
    keep = "    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n"
    return f"# {NOTICE}\n{{{{- if .Values.crds.enabled }}}}\n{text.replace(head, head + keep, 1)}{{{{- end }}}}\n"


def rendered() -> dict[Path, str]:
    """Every rendered file, by its path under the root."""
    files = {CRD_FOLDER / f"{kind.plural}.yaml": template(crd(kind)) for kind in KINDS}
    return {**files, REFERENCE: reference()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m rolehost_api.crd.render", description="Render CRDs and reference.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root")
    options = parser.parse_args(arguments)
    stale: list[Path] = []
    for path, text in rendered().items():
        target = options.root / path
        if target.is_file() and target.read_text() == text:
            continue
        stale.append(path)
        if not options.check:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    for path in stale:
        print(f"{path} is not what the types say; run `make render`" if options.check else f"wrote {path}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
