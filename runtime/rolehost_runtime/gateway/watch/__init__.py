"""Keeps the tables true from the Kubernetes API, read-only.

`api` is how the apiserver is reached, `listwatch` the one loop that lists and watches,
`views` the few fields that are read of objects that are not ours, `filler` what an
object means for the tables (pure), `review` asks whose token it is.

Does not belong here: anything that writes, or that acts on what the tables say.
"""
