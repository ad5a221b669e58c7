"""The gateway: clients on one side, sandbox pods, models and Redis on the other.

`tables` is what it knows of the world, `ports` what it needs from the world and what its
rooms ask of each other. `edge` speaks to clients, `sessions` runs turns, `link` speaks to
pods, `broker` carries effects out (`broker.models`, `broker.state`), `watch` keeps the
tables true from the Kubernetes API. `app` is the only module that knows every adapter.
"""
