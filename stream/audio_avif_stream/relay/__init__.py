"""The relay: rooms on the network."""
