"""The behaviour graph: which way a turn goes, and why. Pure.

`tables` is what a graph is, as a manifest compiles to it; `declaring` draws it together with a Role's Python; `graph` is
one that is ready to be walked, `ticking` walks it a step, `draw` is its chance. `place` is where a session stands, a part
of its state; `overriding` lays what the session changed over the graph, `steering` takes such changes from a turn.
`conditions` are expressions as predicates, `stating` the state of a Role without Python, `blending` what the model is told.
"""
