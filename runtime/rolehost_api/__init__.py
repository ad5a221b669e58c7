"""The contract between the operator, the gateway, the sandbox and their users.

What belongs here: the types of the Kubernetes objects (`crd`), of the wire that clients
speak (`wire`), of the link between gateway and sandbox (`link`), of what gateways tell
the operator (`observed`); names, labels and conditions (`names`); errors with stable
codes (`errors`); and the rules that several sides must apply alike (`canonical`,
`bundle`, `identity`, `manifest`).

What does not: anything that acts. No clock, socket, task, environment variable or
framework; files only where a bundle is packed or extracted. It imports neither side,
and every image carries it.
"""

__version__ = "0.1.0"
