"""The broker: the gateway's effects on the world. `state` keeps logs, `models` asks models.

Adapters of ports only; each has a fake, or a second adapter, that passes the same contract
suite. Only this room knows Redis and the wires of model vendors. It decides nothing about
turns, and nothing in it knows a link or a client.
"""
