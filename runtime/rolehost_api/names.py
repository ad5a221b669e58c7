"""Names, labels, ports, conditions and reasons: each written once, here.

Child names are functions of their owner's name, always valid DNS labels (≤63) and never
colliding: what would be too long is cut and ends in a hash of the whole.
"""

import hashlib

GROUP = "rolehost.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

ROLES = "hostedroles"
REVISIONS = "hostedrolerevisions"
BACKENDS = "modelbackends"

# Labels and annotations
TENANT = f"{GROUP}/tenant"
"""On a namespace: this namespace is a tenant. The value decides nothing; name and UID do."""
ROLE = f"{GROUP}/role"
REVISION = f"{GROUP}/revision"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
FOLLOW = f"{GROUP}/follow"
"""On a Role, "true": open sessions move to a new revision at their next turn (development only)."""

FIELD_MANAGER = "rolehost-operator"
RUNTIME_CLASS = "gvisor"
SANDBOX = "sandbox"
"""Component label of sandbox pods, and the container's name in them."""
SANDBOX_SERVICE_ACCOUNT = "rolehost-sandbox"
SANDBOX_POLICY = "rolehost-sandbox"
"""Name of the NetworkPolicy that the operator keeps in every tenant namespace."""
OPERATOR_WRITER = "rolehost-operator-tenant"
"""ClusterRole with the operator's verbs in a tenant namespace; bound there at onboarding."""
LEASE = "rolehost-operator"
KEYS = "rolehost-keys"
"""ConfigMap in the platform's namespace with the hashes of tenants' keys."""
OBSERVED_AUDIENCE = "rolehost-gateway"

# Ports
LINK_PORT = 7420
"""In the sandbox pod: the gateway dials in here."""
HEALTH_PORT = 7421
"""In the sandbox pod: the kubelet's readiness probe."""
GATEWAY_PORT = 8080
INTERNAL_PORT = 8081
"""On the gateway: /internal/v1/observed, for the operator only."""
METRICS_PORT = 9090
UPLOAD_PORT = 8082

# Conditions of a Role. True is good for all of them.
READY = "Ready"
"""Sum of the others: a revision with loaded logic serves in a verified sandbox."""
ACCEPTED = "Accepted"
"""The spec is valid and everything that it refers to was found."""
LOGIC_LOADED = "LogicLoaded"
"""The newest revision's logic was imported in its sandbox, or it has none."""
SANDBOX_VERIFIED = "SandboxVerified"
"""Proved from inside: gVisor's kernel, no token, no route out."""

# Reasons
ALL_GOOD = "Serving"
PROGRESSING = "Progressing"
NO_GATEWAY = "NoGateway"
NOT_A_TENANT = "NamespaceNotATenant"
SANDBOX_UNAVAILABLE = "SandboxUnavailable"
SANDBOX_BREACHED = "SandboxBreached"
"""The probe from inside found a token, a way out, or a kernel that is not gVisor's."""
CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
CONFIG_MAP_TOO_LARGE = "ConfigMapTooLarge"
INVALID_SPEC = "InvalidSpec"
LOGIC_INVALID = "LogicInvalid"
BUNDLE_NOT_FOUND = "BundleNotFound"
BACKEND_NOT_FOUND = "ModelBackendNotFound"
PODS_FAILING = "PodsFailing"
AWAITING_PROBE = "AwaitingProbe"
DRIFT_CORRECTED = "DriftCorrected"
"""Of an Event: somebody changed by hand what the operator keeps, and it was put back."""


def revision_name(role: str, digest: str) -> str:
    """Name of the revision of `role` whose template hashes to `digest` (hex).

    >>> revision_name("storyteller", "9c1f" * 16)
    'storyteller-9c1f9c1f9c'
    >>> len(revision_name("a" * 200, "0" * 64))
    63
    """
    return f"{shortened(role, 52)}-{digest[:10]}"


def shortened(name: str, limit: int = 63) -> str:
    """`name` itself where it fits, else its head and a hash of the whole.

    Different names stay different, and the result is a valid DNS label if `name` is a
    DNS subdomain (dots become hyphens).

    >>> shortened("cat", 52)
    'cat'
    >>> shortened("a.b", 52) == shortened("a-b", 52)
    False
    """
    label = name.replace(".", "-")
    if label == name and len(label) <= limit:
        return label
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{label[: limit - 9].rstrip('-')}-{mark}"
