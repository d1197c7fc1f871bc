"""Streams over impaired paths, hostile peers and load."""
