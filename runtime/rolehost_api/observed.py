"""What a gateway tells the operator: `GET /internal/v1/observed?after=N&wait=S` on its own port.

Facts about pods and revisions, counts of sessions; never a word of a conversation. The
answer is the whole picture, so a reader that missed ten changes needs only the last.
"""

from msgspec import Struct

from rolehost_api.link.messages import LoadError, Probe


class PodReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sandbox pod, as this gateway sees it over its link."""

    uid: str
    name: str
    namespace: str
    role: str
    revision: str
    probe: Probe | None = None
    """Taken before Bind; None until the link stood once."""
    loaded: bool = False
    error: LoadError | None = None
    sessions: int = 0


class RevisionReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    namespace: str
    role: str
    revision: str
    sessions: int
    """Sessions pinned to it that spoke within their idle timeout."""


class Observed(Struct, frozen=True, kw_only=True):
    gateway: str
    """Name of the gateway's pod, and a nonce of its start: a restart is visible."""
    number: int
    """Grows with every change; give it back as `after`."""
    pods: tuple[PodReport, ...] = ()
    revisions: tuple[RevisionReport, ...] = ()
    stale: bool = False
    """This gateway cannot see the cluster and serves from the last good tables: which pods there
    are is no news from it. How many sessions it has is."""
