"""How one revision is doing, from what gateways say of its pods and what the cluster counts."""

from dataclasses import dataclass

from rolehost_api.link.attestation import NOT_ATTESTED
from rolehost_api.link.messages import LoadError, Probe
from rolehost_api.names import RUNTIME_CLASS, SANDBOX_SERVICE_ACCOUNT
from rolehost_api.observed import PodReport
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
    doubt: str = ""
    """Of a pod that did not prove itself: its name, and why."""

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


FACTS = {
    "runtime": f"its RuntimeClass is not {RUNTIME_CLASS}",
    "account": f"its ServiceAccount is not {SANDBOX_SERVICE_ACCOUNT}",
    "image": "not all of its images are the platform's (gateway.trustedSandboxImages of the chart)",
    "apart": "it is in its node's network",
    "owned": "no ReplicaSet of its revision's Deployment made it",
}
"""Fields of HostFacts → what is so where they are not."""


def doubt(pod: PodReport, observed: Observed) -> str:
    """Why this pod did not prove itself, in words; empty where it did, or where its probe is still to come.

    Kubernetes' word and the pod's own are both needed: a pod may print gVisor's banner
    under runc, and a pod under gVisor may have a way out. That it reached nothing means
    something where it tried an address at which somebody is known to listen.
    """
    if not pod.host.proved:
        return ", ".join(words for fact, words in FACTS.items() if not getattr(pod.host, fact))
    if pod.probe is None:
        return ""
    if not set(pod.probe.tried) & set(observed.platform.gateway_targets):
        return "it did not try whether it reaches the gateways"
    return "" if observed.listening else "no gateway says that it listens, so not reaching one proves nothing"


def proved(pod: PodReport, observed: Observed) -> bool:
    return pod.probe is not None and not doubt(pod, observed)


def health(revision: str, observed: Observed) -> Health:
    """A pod that proved itself and loaded the logic makes its revision healthy, and it stays so
    while Kubernetes counts a Ready pod: losing sight of a pod (a gateway restarts) is no news
    about it. A breach is: one such pod, and the revision is not verified. A pod that only
    says that it is a sandbox is no sandbox of this revision: it neither proves nor breaks it.
    """
    if not revision:
        return Health(loaded=None, verified=None)
    pods = [pod for pod in observed.pods if pod.revision == revision]
    breaches = [text for pod in pods if pod.probe and (text := breach(pod.probe))]
    if breaches:
        return Health(loaded=None, verified=False, breach=breaches[0])
    good = [pod for pod in pods if proved(pod, observed)]
    if any(pod.loaded for pod in good) or _stays_ready(revision, observed):
        return Health(loaded=True, verified=True)
    verified = True if good else None
    doubts = [] if good else [f"{pod.name}: {text}" for pod in pods if (text := doubt(pod, observed))]
    doubtful = doubts[0] if doubts else ""
    errors = [pod.error for pod in pods if pod.error and pod.error.code != NOT_ATTESTED]
    if errors:
        return Health(loaded=False, verified=verified, error=errors[0], doubt=doubtful)
    not_attested = any(pod.error and pod.error.code == NOT_ATTESTED for pod in pods)
    return Health(loaded=None, verified=verified, not_attested=not_attested, doubt=doubtful)


def _stays_ready(revision: str, observed: Observed) -> bool:
    status = observed.role.status
    rollout = status.rollout
    proven = {status.latest_ready_revision, status.stable_revision, *(one.revision for one in status.traffic)}
    if rollout is not None and rollout.stage:
        proven.add(rollout.previous)
    if revision not in proven:
        return False
    return any(seen.revision == revision and seen.ready > 0 for seen in observed.deployments)
