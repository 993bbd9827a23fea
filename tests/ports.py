"""Ports for the services of a test, so that two runs of the tests side by side, and a user's own stack, are left alone."""

from infra.stack.apart import free_ports

__all__ = ["free_ports"]
