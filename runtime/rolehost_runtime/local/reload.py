"""Follow the files: an edit makes a revision, a good one takes over, a broken one is told."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from watchfiles import awatch

from rolehost.cli import checkout
from rolehost.cli.watching import Sources
from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import BadRequest, RolehostError
from rolehost_api.link.messages import LoadError
from rolehost_api.observed import Observed
from rolehost_runtime.gateway.ports import Report
from rolehost_runtime.local.tables import LOCAL, FileTables, Wanted, wanted

Tell = Callable[[str], None]
QUIET_MS = 150
"""Edits within this time are one edit: editors write a file in several steps."""


class Follower:
    """Keeps the tables at what the files say, and says what happened."""

    def __init__(self, paths: Sequence[Path], tables: FileTables, tell: Tell) -> None:
        self._paths, self._tables, self._tell = tuple(paths), tables, tell
        self._good: dict[Path, tuple[list[Wanted], dict[str, BackendSpec]]] = {}
        self._refusals: dict[str, str] = {}
        self._picture = Observed(gateway="", number=-1)
        self.settled = asyncio.Event()
        """Every Role serves, or it was told why it does not."""

    # ── reading ─────────────────────────────────────────────────────────────────────

    def read(self) -> list[str]:
        """Read every manifest again; the faults, of which each keeps its own Roles as they were."""
        faults: list[str] = []
        found: dict[Path, tuple[list[Wanted], dict[str, BackendSpec]]] = {}
        for path in self._paths:
            try:
                for manifest in checkout.manifests(path):
                    found[manifest] = self._read_one(manifest, faults)
            except (RolehostError, OSError) as error:
                faults.append(str(error))
                found |= {known: good for known, good in self._good.items() if path in (known, known.parent)}
        self._good = found
        roles = [item for items, _ in found.values() for item in items]
        if twice := {item.name for item in roles if sum(other.name == item.name for other in roles) > 1}:
            faults.append(f"two manifests declare the Role {', '.join(sorted(twice))}; the last one counts")
        backends = {name: spec for _, specs in found.values() for name, spec in specs.items()}
        self._tables.declare(list({item.name: item for item in roles}.values()), backends)
        return faults

    def _read_one(self, manifest: Path, faults: list[str]) -> tuple[list[Wanted], dict[str, BackendSpec]]:
        try:
            here = checkout.read(manifest)
            return wanted(here), {backend.metadata.name: backend.spec for backend in here.backends}
        except (RolehostError, OSError) as error:
            faults.append(str(error))
            return self._good.get(manifest, ([], {}))

    # ── following ───────────────────────────────────────────────────────────────────

    async def watch(self, folders: Sequence[Path]) -> None:
        """Until cancelled: read again whenever a file changes."""
        async for _ in awatch(*folders, watch_filter=Sources(folders), debounce=QUIET_MS, step=20):
            before = dict(self._tables.newest)
            for fault in self.read():
                self._tell(f"✗ {fault}\n  the revision before goes on serving")
            for role in self._tables.newest.keys() - before.keys():
                self._tell(f"+ {role}")
            self._refusals.clear()
            self._settle()

    async def promote(self, report: Report) -> None:
        """Until cancelled: whatever the pods report is acted on."""
        while True:
            self._picture = await report.observed(self._picture.number, 30.0)
            self._settle()

    def _settle(self) -> None:
        for pod in self._picture.pods:
            entry = self._tables.tables.revisions.get(LOCAL.name, pod.revision)
            if entry is None:
                continue
            if pod.loaded:
                self._tables.loaded(pod.uid)
            if pod.loaded and self._tables.promote(pod.role, pod.revision):
                self._tell(f"✓ {pod.role} @r{entry.spec.sequence} serves")
            elif pod.error is not None and not pod.loaded and pod.error.code != "revision_not_seen":
                self._refused(pod.role, pod.revision, pod.error)
        pending = {entry.name for entry in self._tables.tables.roles.values() if not entry.stable}
        if not pending - self._refusals.keys():
            self.settled.set()

    def _refused(self, role: str, revision: str, error: LoadError) -> None:
        fault = f"✗ {role}: {load_fault(error)}"
        if self._refusals.get(role) != fault:
            self._refusals[role] = fault
            kept = self._tables.tables.roles.get(LOCAL.name, role)
            after = "\n  the revision before goes on serving" if kept is not None and kept.stable else ""
            self._tell(fault + after)
        self._tables.give_up(role, revision)


def load_fault(error: LoadError) -> str:
    """A load error in a line: where, what, and what to write.

    >>> load_fault(LoadError(code="import_failed", error="NameError", where="story.py:3"))
    'story.py:3: NameError (import_failed)'
    """
    where = f"{error.where}: " if error.where else ""
    hint = f". {error.hint}" if error.hint else ""
    return f"{where}{error.error or 'it does not load'} ({error.code}){hint}"


def folders_of(paths: Sequence[Path]) -> list[Path]:
    """What to watch. Raises BadRequest for a path that does not exist."""
    for path in paths:
        if not path.exists():
            raise BadRequest(f"there is no {path}", hint="Give a folder with a role.yaml", code="no_manifest")
    return sorted({(path if path.is_dir() else path.parent).resolve() for path in paths})
