"""How a sandbox pod's memory is shared out among what lives in it."""

from dataclasses import dataclass

AT_REST = 96
"""MiB of a pod without any logic: gVisor's kernel, agent, template and three workers. 87 to 91 were measured."""
WORKER_AT_REST = 34
"""MiB of address space of a worker without any logic, as measured. Nearly all of it is the template's own memory."""
WORKERS = 6
"""That may run hooks at the same time: the four that Bind says by default, the spare, and one for a turn apart."""
MOST_SCRATCH = 64
"""MiB; holds the largest bundle, unpacked."""
MOST_STATES = 64


@dataclass(frozen=True, slots=True)
class Budget:
    """In MiB."""

    scratch: int
    """The one place that a pod can write; it is memory too."""
    states: int
    """States of sessions that the agent remembers."""
    worker: int
    """Address space of one worker."""


def budget(pod: int) -> Budget:
    """The shares of a pod with a limit of `pod` MiB.

    All workers together cannot fill the pod, with scratch and the agent's states full too. So
    a hook that allocates without end meets a MemoryError of its own, and not the pod its
    end: (pod - at rest - scratch - states) / 6, on top of what a worker has anyway.

    >>> budget(256)
    Budget(scratch=32, states=16, worker=52)
    >>> budget(512)
    Budget(scratch=64, states=32, worker=87)
    >>> budget(2048)
    Budget(scratch=64, states=64, worker=338)
    """
    scratch = min(MOST_SCRATCH, pod // 8)
    states = min(MOST_STATES, pod // 16)
    left = pod - AT_REST - scratch - states
    return Budget(scratch, states, WORKER_AT_REST + left // WORKERS)
