"""Takes in what tenants push, where neither model keys nor Redis are: a Deployment of its own.

`signing` is how a gateway says for whom it asks, `checker` the rlimited process that is
the only one to open an archive or a manifest, `store` the files, `service` the HTTP in
front, `client` the gateway's end of it.
"""
