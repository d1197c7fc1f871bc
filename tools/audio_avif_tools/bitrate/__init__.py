"""Measurements of rate control, pauses and losses."""
