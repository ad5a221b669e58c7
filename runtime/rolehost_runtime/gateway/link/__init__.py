"""The gateway's end of the links to sandbox pods.

`rules` says what a pod may send when (pure), `call` is one turn on a link, `link` one
connection, `attest` whether its other end is the pod that we mean, `dialer` how a pod in a
cluster is reached, `bind` what a pod is told about its revision, `placement` which pod serves a
session, `report` the picture for the operator, `logs` what role logic printed, `pool`
keeps a link to every trusted pod. The pod is hostile: whoever it is, whose turn it runs
and how long that takes comes from our own tables, never from it.

Does not belong here: what a turn means (sessions), how a pod is reached elsewhere (local).
"""
