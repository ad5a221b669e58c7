"""Where the apiserver is and who we are there: in a pod by its ServiceAccount, else by kubeconfig."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kopf

from rolehost_api.errors import Unauthorized
from rolehost_api.names import host_port

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
FRESH = timedelta(minutes=5)
"""How long what was read stands: a projected token is replaced well before it expires."""


def access() -> kopf.ConnectionInfo:
    """Raises Unauthorized where there is neither."""
    token = ACCOUNT / "token"
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if host and token.is_file():
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        return kopf.ConnectionInfo(
            server=f"https://{host_port(host, port)}",
            ca_path=str(ACCOUNT / "ca.crt"),
            token=token.read_text().strip(),
            expiration=datetime.now(UTC) + FRESH,
        )
    info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    if info is None:
        raise Unauthorized("no way to the Kubernetes API", hint="Run in a pod, or set KUBECONFIG")
    return info
