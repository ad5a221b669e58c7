"""Sessions: who is attached to what, which revision it lives on, and the turns that run.

`service` finds and opens sessions (the edge's way in), `live` is one session in this
process, `answering` its turns: who is next (`line`), who writes (`pen`), which one is open
(`notes`). `attempt` is one turn to its end, `turn` drives its effects, `handle` and `ear`
keep a client's place while its session moves. `revisions` decides where a session lives,
`metrics` counts outcomes. What a session *is* stands in `core.session`.

Does not belong here: sockets (edge), links (link), vendors and Redis (broker).
"""
