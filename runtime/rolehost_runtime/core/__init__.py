"""The runtime's decisions: what a turn does, what a session remembers, what clients are shown.

Everything here is a function of its arguments. Time arrives as a value, model output
arrives as an input, and the outside world is asked for things by returning effects; the
sandbox's worker and the gateway's sessions are the callers that act on them.

A module belongs here if a transcript can replay it. If it needs a clock, a task, a
socket or an environment variable, it is an adapter and lives one floor up.
Import-linter checks the imports; replay tests (tests/unit/core) check the rest.
"""
