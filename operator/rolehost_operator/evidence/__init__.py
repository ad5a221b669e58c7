"""What others saw that Kubernetes does not know: today, what gateways say of pods and sessions.

`sightings` keeps it (pure, its clock is an argument), `gateways` fetches it. Missing
evidence is no evidence: it never makes anything Ready, and never takes pods away.
"""
