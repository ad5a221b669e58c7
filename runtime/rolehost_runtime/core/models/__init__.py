"""Decisions about model servers: what one can do, whether it is asked, how often, by whom next, and what may be spent.

All of it is without I/O; time is an argument, in seconds of any clock that only goes forward, unless it says otherwise.
"""
