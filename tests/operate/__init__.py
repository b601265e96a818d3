"""Conch behind and beside the servers that operators run."""
