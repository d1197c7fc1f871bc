"""Figures of running programs, and where they go."""
