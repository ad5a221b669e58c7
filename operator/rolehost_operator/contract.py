"""Which contract the cluster's CRDs were rendered from, against the one that this operator was built with."""

from collections.abc import Iterable

from rolehost_api.crd.kinds import CONTRACT_NUMBER
from rolehost_api.errors import RolehostError
from rolehost_api.names import CONTRACT
from rolehost_operator.objects import KubeObject


class OutdatedDefinitions(RolehostError):
    """The cluster's CRDs are older than this operator: they would drop fields that it writes."""

    code = "crds_outdated"
    retryable = True


def outdated(definitions: Iterable[KubeObject], number: int = CONTRACT_NUMBER) -> list[str]:
    """Names of those that are older than `number`; one without a number is. Newer ones hold all that older ones do.

    >>> def crd(name, *number):
    ...     return {"metadata": {"name": name, "annotations": {CONTRACT: text for text in number}}}
    >>> outdated([crd("a", "1"), crd("b", "2"), crd("c", "3"), crd("d"), crd("e", "two")], number=2)
    ['a', 'd', 'e']
    """
    return [one["metadata"]["name"] for one in definitions if _number(one) < number]


def _number(definition: KubeObject) -> int:
    said = str(definition["metadata"].get("annotations", {}).get(CONTRACT, ""))
    return int(said) if said.isascii() and said.isdigit() else 0


def check(definitions: Iterable[KubeObject]) -> None:
    """Raises OutdatedDefinitions, whose hint says which files bring the new ones."""
    names = outdated(definitions)
    if names:
        files = " ".join(f"-s templates/crds/{name.partition('.')[0]}.yaml" for name in names)
        raise OutdatedDefinitions(
            f"CRDs are older than contract {CONTRACT_NUMBER} of this operator: {', '.join(names)}",
            hint="`helm upgrade` with crds.enabled=true brings the new ones; or "
            f"`helm template rolehost charts/rolehost {files} | kubectl apply --server-side -f -`",
        )
