"""What serves conversations: `core` decides, `sandbox` runs the tenant's code, `gateway`
holds the clients, the models and the log, `local` puts all of it on one machine.
"""
