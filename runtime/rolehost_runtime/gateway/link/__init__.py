"""The gateway's end of the links to sandbox pods.

Pure: `rules` says what a pod may send when, `bind` what a pod is told about its revision,
`binder` which gateway binds it, `budget` who may be sent a bundle now, `placement` which
pod serves a session, `rings` in what order pods are asked, `attest` whether a link's other end is the pod that we mean. Shell:
`dialer` is how a pod in a cluster is reached, `call` one turn on a link, `link` one
connection, `writer` its writing half (other gateways' links have it too), `keeper`
one pod's link and the reasons for it, `keepers` all of them, `carrier` the bundles on
their way, `serving` the wait for a pod, `logs` and `followers` what role logic printed,
`report` the picture for the operator, `pool` the whole, as other rooms see it.

There are several gateways. A pod is bound by one of them, its binder, which stays linked
and has the word on it; the others link when a turn or a reader needs the pod, and let go
after a minute. Every pod is hostile: whoever it is, whose turn it runs and how long that
takes comes from our own tables, never from it.

Does not belong here: what a turn means (sessions), how a pod is reached elsewhere (local).
"""
