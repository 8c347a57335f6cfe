"""What a host does once for all its workers of a network: it reads the logs and sends heartbeats.

The workers read `rush_core.kernel.shared_log`. Who starts this process is in
`rush_core.launching`.
"""
