"""What a gateway tells the operator: `GET /internal/v1/observed?after=N&wait=S` on its own port.

Facts about pods and revisions, counts of sessions; never a word of a conversation. The
answer is the whole picture, so a reader that missed ten changes needs only the last.
"""

from msgspec import Struct

from rolehost_api.link.messages import LoadError, Probe


class HostFacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What Kubernetes says of a pod, and the pod itself has no say in: admission lets nobody but the operator
    and the controllers that work for it make a pod of which all of this is so. What is not known is not so.

    >>> HostFacts(runtime=True, account=True, image=True, apart=True).proved
    False
    """

    runtime: bool = False
    """Its RuntimeClass is gvisor."""
    account: bool = False
    """It has the sandboxes' ServiceAccount."""
    image: bool = False
    """Every container runs an image of the platform's."""
    apart: bool = False
    """It is not in its node's network."""
    owned: bool = False
    """It belongs to a ReplicaSet of its revision's Deployment."""

    @property
    def proved(self) -> bool:
        return self.runtime and self.account and self.image and self.apart and self.owned


class PodReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pod that says it is a sandbox: what Kubernetes says of it, and what was seen over the link to it.

    A pod whose host facts are not all so is never dialled, and its report says why.
    """

    uid: str
    name: str
    namespace: str
    role: str
    revision: str
    host: HostFacts = HostFacts()
    probe: Probe | None = None
    """Its own word, taken before Bind; None until the link stood once."""
    loaded: bool = False
    error: LoadError | None = None
    sessions: int = 0


class RevisionReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    namespace: str
    role: str
    revision: str
    sessions: int
    """Sessions pinned to it that spoke within their idle timeout."""


class RolloutReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rollout's end did to this gateway's sessions, since this gateway started."""

    namespace: str
    role: str
    rollout: str
    migrated: int = 0
    drained: int = 0
    dropped: int = 0
    reset: int = 0
    breaker: bool = False
    """This gateway stopped giving the candidate new sessions by itself: too many bad ones in a row."""


class WarmReport(Struct, frozen=True, kw_only=True):
    """This gateway is done warming what a rollout is about to give sessions, whether or not that went well."""

    namespace: str
    role: str
    rollout: str


class Observed(Struct, frozen=True, kw_only=True):
    gateway: str
    """Name of the gateway's pod, and a nonce of its start: a restart is visible."""
    number: int
    """Grows with every change; give it back as `after`."""
    listening: bool = False
    """Clients' connections are accepted now: what did not reach this gateway's Service was held back."""
    pods: tuple[PodReport, ...] = ()
    revisions: tuple[RevisionReport, ...] = ()
    stale: bool = False
    """This gateway cannot see the cluster and serves from the last good tables: which pods there
    are is no news from it. How many sessions it has is."""
    rollouts: tuple[RolloutReport, ...] = ()
    warmed: tuple[WarmReport, ...] = ()
    """Of rollouts that wait for it."""
