"""The operator: what the cluster should look like, and bringing it there.

Pure, a function of its arguments, no clock, no I/O:

- `observed`, `platform`, `plan`: the values that go in and come out
- `reconcile`: observed and now → plan; the only place that decides
- `running`, `waves`: which Deployments are written now: pods by sessions, upgrades by turns
- `desired`: one builder per object that we keep in the cluster
- `status`: what is so, in the words of conditions
- `contract`: whether the cluster's CRDs are old
- `rehearsal`: what the cluster would look like after a plan

Shell, thin, decides nothing:

- `kube`: the Kubernetes API: client, watches, the Lease, what was seen last
- `evidence`: what gateways report of pods and sessions
- `handlers`: doorbells (kopf), the queue behind them, the loop that observes, decides and acts
- `simulation`: how the judge of rollouts does on traffic whose truth is known; no part of the running operator
- `commands`, `settings`, `telemetry`: how it is started, configured and watched

The operator never sees a conversation, never opens a bundle and never reads a tenant's
code. Import-linter holds that the pure part imports nothing of the shell.
"""
