"""What the node and kind are told is well formed, and names this cache and nothing else."""

import string
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.cluster import config, kind, parts
from tests.cluster.common import Paths
from tests.support import objects

WHERE = Paths(Path("/var/cache/one"))


def test_every_file_of_the_node_parses() -> None:
    files = config.files(WHERE)
    containerd = tomllib.loads(files["containerd.toml"])
    runtimes = containerd["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert runtimes["runsc"]["runtime_type"] == "io.containerd.runsc.v1"
    assert tomllib.loads(files["runsc.toml"])["runsc_config"]["platform"] == "systrap"
    kubelet = yaml.safe_load(files["kubelet.yaml"])
    assert kubelet["clusterDNS"] == [config.DNS_SERVICE]
    assert kubelet["cgroupRoot"] == f"/{config.cgroup_root(WHERE)}"


def test_two_caches_are_two_nodes() -> None:
    other = Paths(Path("/var/cache/two"))
    assert config.cgroup_root(WHERE) != config.cgroup_root(other)
    assert "/var/cache/one" not in "".join(config.files(other).values())


def test_sandboxes_start_after_the_rules_can_be_enforced() -> None:
    order = [daemon.name for daemon in config.daemons(WHERE, "python")]
    assert order.index("enforcer") < order.index("kubelet")


def test_kind_knows_gvisor_under_the_keys_of_both_generations_of_containerd() -> None:
    text = string.Template(Path(kind.__file__).with_name("kind.yaml").read_text()).substitute(BIN="/somewhere")
    recipe = yaml.safe_load(text)
    mounts = {
        mount["containerPath"].rpartition("/")[2]: mount["hostPath"] for mount in recipe["nodes"][0]["extraMounts"]
    }
    assert mounts == {name: f"/somewhere/{name}" for name in ("runsc", "containerd-shim-runsc-v1")}
    patches = [tomllib.loads(patch)["plugins"] for patch in recipe["containerdConfigPatches"]]
    assert [plugin for patch in patches for plugin in patch] == [
        "io.containerd.grpc.v1.cri",
        "io.containerd.cri.v1.runtime",
    ]


def test_a_part_is_built_again_when_its_flags_change() -> None:
    etcd = next(part for part in parts.PARTS if part.module == "etcd")
    changed = parts.Part(etcd.module, etcd.programs, etcd.cold_minutes, flags="-s")
    assert etcd.stamp() != changed.stamp()
    assert etcd.stamp() == parts.Part(etcd.module, dict(etcd.programs), 99).stamp()


@pytest.mark.parametrize(
    ("environment", "outcome"), [({}, pytest.skip.Exception), ({"CI": "true"}, pytest.fail.Exception)]
)
def test_without_go_what_needs_an_s3_is_skipped_and_never_so_with_ci_set(
    environment: dict[str, str],
    outcome: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "paths", lambda: Paths(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(outcome, match=r"no `go` on PATH .* to build gofakes3"), objects.s3(environment):
        pytest.fail("there is no server to use")
