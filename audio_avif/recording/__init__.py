"""Whole recordings as pictures: a grid of cells in one AVIF file, and back."""
