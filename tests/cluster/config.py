"""The node's files and command lines. Pure: paths in, text and argument lists out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from tests.cluster.common import Paths

NODE_ADDRESS = "10.88.0.1"
POD_RANGE = "10.244.0.0/16"
POD_SUBNET = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
APISERVER_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
PAUSE_IMAGE = "localhost/pause:1"


def cgroup_root(where: Paths) -> str:
    """One for each cache folder, so that the nodes of two checkouts do not sweep each other away."""
    return f"rolehost-{hashlib.sha256(str(where.cache).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Daemon:
    """One program of the node."""

    name: str
    argv: tuple[str, ...]
    needs_apiserver: bool = True
    """Wait for the apiserver before starting it: it would give up or back off otherwise."""


def daemons(where: Paths, python: str) -> tuple[Daemon, ...]:
    """Everything that runs on the node, in the order of starting; stopped the other way round."""
    run, pki = where.run, where.run / "pki"
    return (
        Daemon("containerd", ("containerd", "-c", f"{run}/containerd.toml"), needs_apiserver=False),
        Daemon(
            "etcd",
            (
                where.tool("etcd"),
                f"--data-dir={run}/etcd",
                "--unsafe-no-fsync",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--log-level=warn",
            ),
            needs_apiserver=False,
        ),
        Daemon(
            "apiserver",
            (
                where.tool("kube-apiserver"),
                "--etcd-servers=http://127.0.0.1:2379",
                "--secure-port=6443",
                f"--advertise-address={NODE_ADDRESS}",
                f"--tls-cert-file={pki}/apiserver.crt",
                f"--tls-private-key-file={pki}/apiserver.key",
                f"--client-ca-file={pki}/ca.crt",
                f"--kubelet-client-certificate={pki}/admin.crt",
                f"--kubelet-client-key={pki}/admin.key",
                "--kubelet-preferred-address-types=InternalIP",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={pki}/sa.key",
                f"--service-account-signing-key-file={pki}/sa.key",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                "--shutdown-delay-duration=0s",
            ),
            needs_apiserver=False,
        ),
        Daemon(
            "controller-manager",
            (
                where.tool("kube-controller-manager"),
                f"--kubeconfig={run}/admin.kubeconfig",
                f"--service-account-private-key-file={pki}/sa.key",
                f"--root-ca-file={pki}/ca.crt",
                f"--cluster-signing-cert-file={pki}/ca.crt",
                f"--cluster-signing-key-file={pki}/ca.key",
                "--use-service-account-credentials=true",
                "--leader-elect=false",
                f"--cluster-cidr={POD_RANGE}",
                "--allocate-node-cidrs=true",
            ),
        ),
        Daemon(
            "scheduler",
            (where.tool("kube-scheduler"), f"--kubeconfig={run}/admin.kubeconfig", "--leader-elect=false"),
        ),
        Daemon("enforcer", (python, "-m", "tests.cluster.enforcer", f"{run}/admin.kubeconfig")),
        Daemon("kube-proxy", (where.tool("kube-proxy"), f"--config={run}/kube-proxy.yaml")),
        Daemon(
            "kubelet",
            (
                where.tool("kubelet"),
                f"--kubeconfig={run}/kubelet.kubeconfig",
                f"--config={run}/kubelet.yaml",
                "--hostname-override=node1",
                f"--node-ip={NODE_ADDRESS}",
                f"--root-dir={run}/kubelet",
            ),
        ),
    )


def files(where: Paths) -> Mapping[str, str]:
    """Name below the run folder -> text, for every file that the daemons read."""
    return {
        "containerd.toml": _containerd(where),
        "runsc.toml": '[runsc_config]\nplatform = "systrap"\n',
        "resolv.conf": f"nameserver {DNS_SERVICE}\n",
        "cni/10-bridge.conflist": json.dumps(_network()),
        "kubelet.yaml": yaml.safe_dump(_kubelet(where)),
        "kube-proxy.yaml": yaml.safe_dump(_kube_proxy(where)),
        "admin.kubeconfig": kubeconfig(where, "admin", 6443),
        "kubelet.kubeconfig": kubeconfig(where, "kubelet", 6443),
    }


def kubeconfig(where: Paths, user: str, port: int) -> str:
    """Access as `user` to the apiserver on this port of the loopback, inside or (by the relay) outside."""
    pki = where.run / "pki"
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": f"{pki}/ca.crt"}
    certificate = {"client-certificate": f"{pki}/{user}.crt", "client-key": f"{pki}/{user}.key"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "rolehost", "cluster": cluster}],
        "users": [{"name": user, "user": certificate}],
        "contexts": [{"name": "rolehost", "context": {"cluster": "rolehost", "user": user, "namespace": "default"}}],
        "current-context": "rolehost",
    }
    return yaml.safe_dump(config)


def _containerd(where: Paths) -> str:
    """runc for the platform, runsc for sandboxes; lowering oom_score_adj is not ours to do in a user namespace."""
    run = where.run
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{run}/containerd"
state = "{run}/containerd-run"
[grpc]
  address = "{run}/containerd.sock"
[{cri}]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = "{PAUSE_IMAGE}"
  [{cri}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{run}/cni"
  [{cri}.containerd]
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [{cri}.containerd.runtimes.runsc]
      runtime_type = "io.containerd.runsc.v1"
      [{cri}.containerd.runtimes.runsc.options]
        TypeUrl = "io.containerd.runsc.v1.options"
        ConfigPath = "{run}/runsc.toml"
"""


def _network() -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_SUBNET}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "rolehost", "plugins": [bridge, ports]}


def _kubelet(where: Paths) -> dict[str, Any]:
    """cgroups below a root of our own, so that `down` can tell our pods from anybody else's."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{where.run}/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "featureGates": {"KubeletInUserNamespace": True},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup_root(where)}",
        "failSwapOn": False,
        "failCgroupV1": False,
        "localStorageCapacityIsolation": False,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{where.run}/resolv.conf",
        "containerRuntimeEndpoint": f"unix://{where.run}/containerd.sock",
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "maxPods": 200,
        "registryPullQPS": 0,
        "serializeImagePulls": False,
    }


def _kube_proxy(where: Paths) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{where.run}/admin.kubeconfig"},
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": "node1",
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
    }
