"""A real Kubernetes node with gVisor on one Linux machine: a tool for developing and testing, not a part of the product.

`python -m tests.cluster up` builds what is missing, starts the node and installs the platform on it; `down` leaves
nothing behind. Where Docker answers, kind does the node's part; everywhere else every program is built from its Go
module and runs in a user, mount and network namespace of its own, so nothing of the host's network is touched.

    common      paths, errors, running a program                parts       the programs and how they are built
    namespace   the holder of the namespaces, sockets in them   pki         the node's certificates
    config      the node's files and command lines (pure)       node        start, stop and look at the node
    policy      NetworkPolicies -> rules (pure)                 enforcer    watches, and gives the rules to nft
    images      images from the Containerfile, and loading      install     chart, tenant, key
    relay       ways in from outside of the namespace           kind        the same with Docker
"""
