"""Clients and frameworks that others wrote, against a running Conch."""
