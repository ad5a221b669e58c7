"""Sessions: who is attached to what, which revision it lives on, and the turns that run.

`service` finds and opens sessions (the edge's way in), `live` is one session in this
process, `turn` drives the effects of one turn, `revisions` decides where a session
lives, `metrics` counts outcomes. What a session *is* stands in `core.session`.

Does not belong here: sockets (edge), links (link), vendors and Redis (broker).
"""
