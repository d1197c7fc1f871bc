"""Calls: a sender and a receiver that meet another end in two rooms of a relay."""
