"""The template: imports the tenant's code once, then only forks workers.

`python -m rolehost_runtime.sandbox.template FD MEMORY_BYTES`, started by the agent before
anything is bound, so that the interpreter is warm when the logic comes.
"""

import gc
import os
import select
import signal
import socket
import sys
from contextlib import suppress

from rolehost_runtime.core.dsl.declared import names_of
from rolehost_runtime.sandbox import limits, seccomp
from rolehost_runtime.sandbox.loading import NotLoaded, behavior, fields, graph, load, show, timers_of
from rolehost_runtime.sandbox.policies import SETTING, Policies
from rolehost_runtime.sandbox.steps import Died, Fork, Forked, Frames, Load, Loaded, Said, ToTemplate, pack
from rolehost_runtime.sandbox.worker import Logic, Worker


class Template:
    def __init__(self, sock: socket.socket, policies: Policies | None = None) -> None:
        self._sock, self._policies = sock, policies or Policies()
        self._frames: Frames[Load | Fork] = Frames(ToTemplate)
        self._fds: list[int] = []
        self._logic: Logic | None = None
        self._bell, bell = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(bell, False)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Until the agent hangs up; then everything below dies with this process."""
        while True:
            ready, _, _ = select.select([self._sock.fileno(), self._bell], [], [])
            if self._bell in ready:
                with suppress(BlockingIOError):
                    os.read(self._bell, 4096)
                self._bury()
            if self._sock.fileno() in ready:
                data, fds, _, _ = socket.recv_fds(self._sock, 65_536, 3)
                if not data:
                    return
                self._fds += fds
                for asked in self._frames.feed(data):
                    self._do(asked)

    def _do(self, asked: Load | Fork) -> None:
        if isinstance(asked, Load):
            self._tell(self._load(asked))
        else:
            fds, self._fds = self._fds[:3], self._fds[3:]
            self._tell(Forked(number=asked.number, pid=self._fork(fds)))
            for fd in fds:
                os.close(fd)

    def _tell(self, said: Said) -> None:
        self._sock.sendall(pack(said))

    def _load(self, asked: Load) -> Loaded:
        try:
            compiled = behavior(asked.behavior, has_logic=bool(asked.folder))
            role = load(asked.folder, asked.entrypoint, asked.role, persona_bound=asked.personas > 0, compiled=compiled)
            if asked.folder:  # only now it is known what a `state.x` of the manifest is
                compiled = behavior(asked.behavior, has_logic=True, names=names_of(role))
            walked = graph(role, asked.folder, compiled, self._policies.named(compiled))
            timers = timers_of(role, asked.folder, asked.timer_min_seconds)
        except NotLoaded as error:
            if error.__cause__ is not None:
                show(error.__cause__, asked.folder)
            return Loaded(error=error.error)
        finally:
            sys.stdout.flush()
        self._logic = Logic(role, asked.folder, asked.personas, asked.max_state_bytes, walked, asked.permissions)
        gc.collect()
        gc.freeze()  # pages that no collector touches stay shared with the workers
        return Loaded(
            hooks=(*(hook.name for hook in role.hooks), *(edge.name for edge in role.edges if edge.name)),
            state_fields=fields(role.state),
            user_fields=fields(role.user_state),
            tools=tuple(tool.spec for tool in role.tools.values()),
            timers=timers,
            deltas=bool(role.of("on_delta")),
        )

    def _fork(self, fds: list[int]) -> int:
        if self._logic is None or len(fds) != 3:
            return 0
        try:
            pid = os.fork()
        except OSError:
            return 0
        if pid:
            return pid
        try:
            self._become_worker(fds, self._logic)
        finally:
            os._exit(0)

    def _become_worker(self, fds: list[int], logic: Logic) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        limits.die_with_parent()
        os.setsid()
        seccomp.wall_in_worker()
        self._sock.close()
        link, stdout, stderr = fds
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        with socket.socket(fileno=link) as sock, suppress(ConnectionError):
            Worker(sock, logic).serve()

    def _bury(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._tell(Died(pid=pid, status=os.waitstatus_to_exitcode(status)))


def main() -> None:
    fd, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    limits.die_with_parent()
    limits.adopt_orphans()
    limits.confine(memory_bytes)
    limits.hide()
    seccomp.wall_in_template()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    with socket.socket(fileno=fd) as sock, suppress(ConnectionError):
        Template(sock, Policies(os.environ.get(SETTING, ""))).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
