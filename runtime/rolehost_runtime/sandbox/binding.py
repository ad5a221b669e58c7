"""What this pod is bound to: once, by content; from then on it serves one revision and nothing else."""

import asyncio
import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path

from rolehost_api import bundle
from rolehost_api.errors import InvalidBundle
from rolehost_api.link.messages import Bind, Bound, LoadError
from rolehost_runtime.sandbox.pool import Pool
from rolehost_runtime.sandbox.steps import Load
from rolehost_runtime.sandbox.turns import Turns


@dataclass(frozen=True, slots=True)
class Serving:
    """A pod that was bound."""

    bind: Bind
    bound: Bound
    turns: Turns


class Binding:
    def __init__(self, pool: Pool, scratch: Path) -> None:
        self._pool = pool
        self._scratch = scratch
        self._lock = asyncio.Lock()
        self.serving: Serving | None = None
        self.logs = True
        """Whether what the logic prints may be kept; known before its first line is imported."""

    @property
    def hash(self) -> str:
        return self.serving.bind.hash if self.serving else ""

    @property
    def ready(self) -> bool:
        """Sticky: what happens to links or workers later does not take it back."""
        return self.serving is not None and self.serving.bound.error is None

    def answer(self, bind: Bind) -> Bound | None:
        """What a bound pod says to a Bind; None from one that is not bound yet."""
        if self.serving is None:
            return None
        if bind.hash == self.serving.bind.hash:
            return self.serving.bound
        error = LoadError(code="already_bound", hint="this pod serves another revision; a pod is bound once")
        return Bound(hash=bind.hash, error=error)

    async def bind(self, bind: Bind, archive: bytes) -> Bound:
        """Unpack and import the logic. An archive that is not the right one leaves the pod unbound."""
        async with self._lock:
            if (answer := self.answer(bind)) is not None:
                return answer
            try:
                folder = await asyncio.to_thread(self._unpack, bind, archive)
            except InvalidBundle as error:
                told = LoadError(code=error.code, hint=error.message[:256])
                return Bound(hash=bind.hash, error=told)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                told = LoadError(
                    code="bundle_too_large", hint="it does not fit into /tmp; raise resources.memoryMebibytes"
                )
                return Bound(hash=bind.hash, error=told)
            self.logs = bind.logs
            load = Load(
                folder=folder,
                entrypoint=bind.logic.entrypoint if bind.logic else "",
                role=bind.role,
                personas=len(bind.persona) if any(bind.persona) else 0,
                max_state_bytes=bind.state_max_bytes,
                behavior=bind.behavior,
                permissions=bind.permissions,
                timer_min_seconds=bind.timer_min_seconds,
            )
            loaded = await self._pool.load(load, bind.max_workers)
            bound = Bound(
                hash=bind.hash,
                error=loaded.error,
                hooks=loaded.hooks,
                state_fields=loaded.state_fields,
                user_fields=loaded.user_fields,
                tools=loaded.tools,
                timers=loaded.timers,
                deltas=loaded.deltas,
            )
            turns = Turns(self._pool, hook_seconds=bind.hook_wall_ms / 1000)
            self.serving = Serving(bind, bound, turns)
            return bound

    def _unpack(self, bind: Bind, archive: bytes) -> str:
        if bind.logic is None:
            return ""
        into = self._scratch / hashlib.sha256(bind.hash.encode()).hexdigest()[:16]
        if not into.exists():
            if bind.logic.bundle_digest:
                bundle.extract(archive, into, expected=bind.logic.bundle_digest)
            else:
                bundle.write_files(bind.logic.files, into)
        return str(into)
