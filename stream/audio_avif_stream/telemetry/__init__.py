"""Figures of running programs, and the places that show them."""
