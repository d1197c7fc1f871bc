"""Samples to log-mel frames, and what changes frames or rates."""
