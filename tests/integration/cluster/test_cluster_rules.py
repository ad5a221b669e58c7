"""The enforcer's rules in a real kernel: loaded by nft in a network of their own, and packets sent against them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.cluster.policy import Pod, World, ruleset

BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None or not BRIDGED.exists(),
    reason="needs root, nft and br_netfilter",
)

SANDBOX = Pod("acme", {"app": "sandbox"}, "10.244.0.5")
GATEWAY = Pod("system", {"app": "gateway"}, "10.244.0.6")
OTHER = Pod("system", {"app": "other"}, "10.244.0.7")
POLICY = {
    "metadata": {"namespace": "acme", "name": "p"},
    "spec": {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "gateway"}}}],
                "ports": [{"port": 7420}],
            }
        ],
        "egress": [],
    },
}

NETWORK = """
set -e
sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1 net.ipv4.ip_forward=1
ip link set lo up
ip link add cni0 type bridge
ip addr add 10.244.0.1/24 dev cni0
ip link set cni0 up
for n in 5 6 7 8; do
  ip netns add "$0-$n"
  ip link add "v$n" type veth peer name eth0 netns "$0-$n"
  ip link set "v$n" master cni0 up
  ip -n "$0-$n" addr add "10.244.0.$n/24" dev eth0
  ip -n "$0-$n" link set lo up
  ip -n "$0-$n" link set eth0 up
  ip -n "$0-$n" route add default via 10.244.0.1
done
for _ in $(seq 100); do [ "$(bridge link show | grep -c 'state forwarding')" = 4 ] && break; sleep 0.05; done
nft -f -
"""

TRY = """
import socket, sys
def inside(name):
    import ctypes, os
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
    assert ctypes.CDLL(None).setns(fd, 0x40000000) == 0
prefix, source, target, port = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
if target != "1":
    inside(f"{prefix}-{target}")
listener = socket.create_server((f"10.244.0.{target}", port))
inside(f"{prefix}-{source}")
try:
    socket.create_connection((f"10.244.0.{target}", port), 1).close()
    print("connected")
except OSError as error:
    print("refused" if isinstance(error, ConnectionRefusedError) else "silence")
"""


def attempts(rules: str, *tries: tuple[int, int, int]) -> list[str]:
    """What becomes of each (source, target, port), by the last byte of the address; 1 is the node itself."""
    prefix = f"rules{os.getpid()}"
    lines = [NETWORK.replace("nft -f -", "nft -f - <<'RULES'\n" + rules + "RULES")]
    lines += [f"python3 -c '{TRY}' {prefix} {source} {target} {port}" for source, target, port in tries]
    # `true`: the shell must outlive the last try, which leaves the network that would vanish without anybody in it.
    script = "\n".join([*lines, "true"])
    argv = [
        "unshare",
        "--net",
        "--mount",
        "bash",
        "-c",
        f"mount -t tmpfs none /run; mkdir /run/netns\n{script}",
        prefix,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@needs_root
def test_only_what_the_policy_names_gets_through() -> None:
    rules = ruleset(World((SANDBOX, GATEWAY, OTHER), {"acme": {}, "system": {}}, (POLICY,)))
    tries = {
        (6, 5, 7420): "connected",
        (6, 5, 7421): "silence",
        (7, 5, 7420): "silence",
        (5, 6, 8080): "silence",
        (5, 1, 6443): "silence",
        (6, 1, 6443): "connected",
        (7, 6, 8080): "connected",
    }
    assert dict(zip(tries, attempts(rules, *tries), strict=True)) == tries


@needs_root
def test_an_address_that_belongs_to_no_known_pod_neither_sends_nor_hears() -> None:
    rules = ruleset(World((GATEWAY,), {"system": {}}, ()))
    tries = {(8, 6, 8080): "refused", (6, 8, 8080): "refused", (8, 1, 6443): "refused"}
    assert dict(zip(tries, attempts(rules, *tries), strict=True)) == tries


@needs_root
def test_before_anything_is_known_everything_is_closed_but_to_the_node() -> None:
    """The kubelet's probes come from the node and pass: they tell nobody anything."""
    assert attempts(ruleset(None), (6, 5, 80), (5, 1, 80)) == ["refused", "refused"]
