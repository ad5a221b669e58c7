"""`rolehost dev`: the same gateway, engine and worker on one machine, without a cluster.

What belongs here: what stands in for the cluster. `tables` fills the gateway's tables
from manifests in folders, `dialer` starts an agent as a process instead of dialling a
pod, `redis` starts a Redis of its own, `model` chooses what answers, `reload` follows
edits. `dev` puts them under the gateway's own composition root.

What does not: anything that decides how a turn runs, or what a client is shown.
"""
