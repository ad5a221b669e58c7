"""How one revision is doing, from what gateways say of its pods and what the cluster counts."""

from dataclasses import dataclass

from rolehost_api.link.attestation import NOT_ATTESTED
from rolehost_api.link.messages import LoadError, Probe
from rolehost_operator.observed import Observed


@dataclass(frozen=True, slots=True)
class Health:
    """Of one revision. None is unknown."""

    loaded: bool | None
    verified: bool | None
    error: LoadError | None = None
    """Why the logic did not load."""
    breach: str = ""
    """What the probe found that must not be."""
    not_attested: bool = False
    """Somebody else listens where a gateway looks for one of its pods, and nothing better is known."""

    @property
    def serving(self) -> bool:
        return self.loaded is True and self.verified is True


def breach(probe: Probe) -> str:
    """What is wrong with a sandbox, in words; empty where nothing is.

    >>> breach(Probe(gvisor=True, token=False, tried=("10.96.0.1:443",)))
    ''
    >>> breach(Probe(gvisor=False, token=True, tried=("10.96.0.1:443",)))
    "its kernel is not gVisor's, a service-account token is mounted"
    """
    found = []
    if not probe.gvisor:
        found.append("its kernel is not gVisor's")
    if probe.token:
        found.append("a service-account token is mounted")
    if probe.reached:
        found.append(f"it reached {', '.join(probe.reached)}")
    return ", ".join(found)


def health(revision: str, observed: Observed) -> Health:
    """A pod that proved itself and loaded the logic makes its revision healthy, and it stays so
    while Kubernetes counts a Ready pod: losing sight of a pod (a gateway restarts) is no news
    about it. A breach is: one such pod, and the revision is not verified. A probe that tried
    no way out proves nothing.
    """
    if not revision:
        return Health(loaded=None, verified=None)
    pods = [pod for pod in observed.pods if pod.revision == revision]
    breaches = [text for pod in pods if pod.probe and (text := breach(pod.probe))]
    if breaches:
        return Health(loaded=None, verified=False, breach=breaches[0])
    proved = any(pod.probe and pod.probe.tried for pod in pods)
    loaded = any(pod.loaded and pod.probe and pod.probe.tried for pod in pods)
    if loaded or _stays_ready(revision, observed):
        return Health(loaded=True, verified=True)
    errors = [pod.error for pod in pods if pod.error and pod.error.code != NOT_ATTESTED]
    if errors:
        return Health(loaded=False, verified=proved or None, error=errors[0])
    not_attested = any(pod.error and pod.error.code == NOT_ATTESTED for pod in pods)
    return Health(loaded=None, verified=proved or None, not_attested=not_attested)


def _stays_ready(revision: str, observed: Observed) -> bool:
    status = observed.role.status
    if revision not in (status.latest_ready_revision, status.stable_revision):
        return False
    return any(seen.revision == revision and seen.ready > 0 for seen in observed.deployments)
