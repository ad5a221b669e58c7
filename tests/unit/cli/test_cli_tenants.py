"""What makes a namespace a tenant."""

import yaml
from click.testing import CliRunner

from rolehost.cli import main


def test_a_dry_run_prints_what_would_be_applied() -> None:
    done = CliRunner().invoke(main, ["tenants", "add", "acme", "--dry-run", "--platform-namespace", "plat"])
    namespace, binding = yaml.safe_load_all(done.output)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "rolehost.io/tenant" in namespace["metadata"]["labels"]
    assert binding["metadata"]["namespace"] == "acme"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "rolehost-operator", "namespace": "plat"}]
