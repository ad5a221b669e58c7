"""Versions of the platform on the cluster: this checkout's, and an earlier commit's to upgrade from and go back to."""

import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import images, install, kind
from tests.cluster.common import REPOSITORY, ClusterError, Paths, call

SHIPPED = ("runtime", "operator", "charts", "Containerfile", "pyproject.toml")
"""What of a working tree reaches a cluster."""
DEPTH = 200
"""Commits that are looked through."""


@dataclass(frozen=True)
class Release:
    """A working tree whose images bear this tag."""

    source: Path
    tag: str
    commit: str = ""
    """Where its files are from; empty for a tree that may have been edited."""

    def load(self, where: Paths) -> None:
        """Build its images and give them to the node; nothing runs them yet."""
        wanted = images.platform(self.source, self.tag)
        if kind.running(where):
            kind.load(where, wanted)
        else:
            images.ensure(where, wanted)

    def upgrade(self, where: Paths) -> None:
        """`helm upgrade` to its chart, with the values that it is tested with; returns when helm does."""
        folder = self.source / "tests/cluster"
        values = [folder / "values.yaml", *([] if kind.running(where) else [folder / "values-parts.yaml"])]
        settings = [f"images.{name}.tag={self.tag}" for name in ("runtime", "sandbox", "operator")]
        install.chart(where, values, self.source, settings)

    @property
    def sandbox_image(self) -> str:
        return next(image.name for image in images.platform(self.source, self.tag) if image.target == "sandbox")


THIS = Release(REPOSITORY, "dev")


def previous_commit() -> str:
    """The newest commit that ships other files than this checkout has, or the one that ROLEHOST_UPGRADE_FROM names.

    Commits that only touch tests or docs are passed over: between them there is nothing to upgrade.
    """
    if named := os.environ.get("ROLEHOST_UPGRADE_FROM"):
        return _git("rev-parse", "--verify", f"{named}^{{commit}}").strip()
    if (found := _newest_other()) is None and _git("rev-parse", "--is-shallow-repository").strip() == "true":
        _git("fetch", "--quiet", f"--deepen={DEPTH}")
        found = _newest_other()
    if found is None:
        raise ClusterError("there is no earlier version here to upgrade from: this needs the repository's history")
    return found


def _newest_other() -> str | None:
    for commit in _git("rev-list", "--first-parent", f"--max-count={DEPTH}", "HEAD").split():
        differs = subprocess.run(["git", "diff", "--quiet", commit, "--", *SHIPPED], cwd=REPOSITORY, check=False)
        if differs.returncode == 1:
            return commit
    return None


def checked_out(where: Paths, commit: str) -> Release:
    """The commit's files in a folder of the cache, which holds one at a time; its images bear the tag `previous`."""
    folder = where.cache / "previous"
    shutil.rmtree(folder, ignore_errors=True)
    packed = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(folder, filter="data")
    return Release(folder, "previous", commit)


def _git(*argv: str) -> str:
    return call(["git", *argv], cwd=REPOSITORY)
