"""Connections that a program opens: addresses, handshake, and reconnecting."""
