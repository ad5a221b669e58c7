"""The other gateways: who is alive, and sessions that one answers for the clients of another.

`identity` is how two gateways know each other, `connection` one link between them, `mesh`
dials every other gateway and relays this one's clients, `guests` takes in the clients of
the others. Who answers a session is decided by its log's epoch and nothing here.

Does not belong here: what a session is (sessions), and links to pods (link).
"""
