"""The objects by which walls are tried: pods that live for seconds, and the policies between two of them. Pure.

The server listens on three ports. The client's policy lets it out to the first and the third,
the server's lets it in to the first and the second: so the second proves egress, the third ingress.
"""

from typing import Any

from rolehost_api.names import GROUP, RUNTIME_CLASS

DOCTOR = f"{GROUP}/doctor"
"""Label with the run that made an object."""
PART = f"{GROUP}/doctor-part"
NAME = "rolehost-doctor"
BOTH, NO_EGRESS, NO_INGRESS = 7001, 7002, 7003
LIFE_SECONDS = 40
"""After which a pod ends by itself, whatever became of who made it."""
ROUNDS_SECONDS = 3.0
"""Two pods start one after the other before; the whole examination has ten seconds."""
SETTLED_ROUNDS = 4
"""Rounds with the control reached, after which the client has seen enough."""
USER = 65532

SERVE = """
import selectors, socket, sys
def listen(port):
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        return socket.create_server(("", port))
ready = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    ready.register(listen(port), selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        key.fileobj.accept()[0].close()
"""

TRY = """
import json, socket, sys, time
host, seconds, settled, *ports = sys.argv[1:]
def reaches(port):
    try:
        socket.create_connection((host, int(port)), 0.3).close()
        return True
    except OSError:
        return False
rounds, good, until = [], 0, time.monotonic() + float(seconds)
while good < int(settled) and time.monotonic() < until:
    rounds.append({port: reaches(port) for port in ports})
    good += rounds[-1][ports[0]]
    time.sleep(0.05)
print(json.dumps({"rounds": rounds}))
"""

KERNEL = """
import ctypes, json, os
log = ctypes.create_string_buffer(65536)
count = ctypes.CDLL(None, use_errno=True).klogctl(3, log, len(log))
found = count > 0 and b"Starting gVisor" in log.raw[:count]
print(json.dumps({"gvisor": found, "kernel": " ".join(os.uname()[0:3:2])}))
"""


def kernel_pod(run: str, image: str, pull: str) -> dict[str, Any]:
    """Says what kernel it finds under RuntimeClass gvisor."""
    return _pod(run, "kernel", image, pull, KERNEL, runtimeClassName=RUNTIME_CLASS)


def server_pod(run: str, image: str, pull: str) -> dict[str, Any]:
    return _pod(run, "server", image, pull, SERVE, BOTH, NO_EGRESS, NO_INGRESS)


def client_pod(run: str, image: str, pull: str, address: str) -> dict[str, Any]:
    """Tries the server at that IP, over and over, and says what it reached in each round."""
    tries = (address, ROUNDS_SECONDS, SETTLED_ROUNDS, BOTH, NO_EGRESS, NO_INGRESS)
    return _pod(run, "client", image, pull, TRY, *tries)


def policies(run: str) -> list[dict[str, Any]]:
    """What the client may reach, and what may reach the server."""
    server, client = ({"matchLabels": {DOCTOR: run, PART: part}} for part in ("server", "client"))
    out = {
        "podSelector": client,
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": server}], "ports": _ports(BOTH, NO_INGRESS)}],
    }
    into = {
        "podSelector": server,
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": client}], "ports": _ports(BOTH, NO_EGRESS)}],
    }
    return [
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": _metadata(run, part), "spec": spec}
        for part, spec in (("client", out), ("server", into))
    ]


def _ports(*ports: int) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": "TCP"} for port in ports]


def _metadata(run: str, part: str) -> dict[str, Any]:
    return {"name": f"{NAME}-{run}-{part}", "labels": {"app.kubernetes.io/name": NAME, DOCTOR: run, PART: part}}


def _pod(run: str, part: str, image: str, pull: str, script: str, *arguments: object, **spec: Any) -> dict[str, Any]:
    """Restricted in the sense of Pod Security, without a token, and small."""
    container = {
        "name": part,
        "image": image,
        "imagePullPolicy": pull,
        "command": ["python", "-c", script, *map(str, arguments)],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(run, part),
        "spec": {
            **spec,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIFE_SECONDS,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
