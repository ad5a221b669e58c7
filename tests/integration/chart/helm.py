"""The chart, installed by helm into an apiserver of its own: nothing else may have made the CRDs before it."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests.support.apiserver import BINARIES, ApiServer, Processes, start

CHART = Path(__file__).parents[3] / "charts" / "rolehost"
KUBE_VERSION = "1.34.0"
NAMESPACE = "rolehost-system"


@dataclass(frozen=True)
class Helm:
    """helm, with or without a cluster behind it."""

    program: Path
    home: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        where = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        done = subprocess.run(
            [str(self.program), *arguments, *where],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HOME": str(self.home)},
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"helm {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def template(self, *arguments: str) -> list[dict[str, Any]]:
        """The chart's objects as a cluster-less helm renders them."""
        shown = ["template", "rolehost", str(CHART), "-n", NAMESPACE, "--kube-version", KUBE_VERSION]
        return [found for found in yaml.safe_load_all(self.run(*shown, *arguments).stdout) if found]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    program = BINARIES / "helm"
    if not program.is_file():
        message = f"helm is not in {BINARIES}; `make cluster` builds it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return Helm(program, tmp_path_factory.mktemp("helm"))


class Ask(NamedTuple):
    """May somebody do this? Without a namespace: in all of them."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def attributes(self) -> dict[str, str]:
        resource, _, subresource = self.resource.partition("/")
        found = {**self._asdict(), "resource": resource, "subresource": subresource}
        return {key: value for key, value in found.items() if value}


@dataclass(frozen=True)
class Release:
    helm: Helm
    server: ApiServer

    def upgrade(self, *arguments: str) -> str:
        """Install or upgrade with tenant `acme`; the notes that helm printed."""
        verb = ["upgrade", "--install", "rolehost", str(CHART), "-n", NAMESPACE, "--create-namespace"]
        return self.helm.run(*verb, "--set", "tenants[0].namespace=acme,tenants[0].create=true", *arguments).stdout

    def rollback(self) -> None:
        """To what was there before the last upgrade."""
        self.helm.run("rollback", "rolehost", "-n", NAMESPACE)

    def get(self, *what: str) -> Any:
        return self.server.get("-n", NAMESPACE, *what)

    def allowed(self, account: str, asked: Iterable[Ask]) -> set[Ask]:
        """Those of the asked-for verbs that RBAC grants to a ServiceAccount of the release."""
        asks = list(asked)
        reviews = [
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": f"system:serviceaccount:{NAMESPACE}:{account}",
                    "resourceAttributes": one.attributes(),
                },
            }
            for one in asks
        ]
        shown = ["-o", 'jsonpath={.status.allowed}{"\\n"}']
        told = self.server.kubectl("create", "-f", "-", *shown, stdin=yaml.safe_dump_all(reviews)).stdout.split()
        assert len(told) == len(asks)
        return {one for one, answer in zip(asks, told, strict=True) if answer == "true"}


@pytest.fixture(scope="session")
def release(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Installed once; the tests of test_chart_install.py run in their order and leave it installed."""
    folder = tmp_path_factory.mktemp("chart-apiserver")
    processes = Processes(folder)
    try:
        server = start(folder, processes)
        made = Release(Helm(helm.program, helm.home, server.kubeconfig), server)
        made.upgrade()
        yield made
    finally:
        processes.stop()
