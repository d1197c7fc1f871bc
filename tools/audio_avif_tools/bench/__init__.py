"""``make bench``: speed, delay and memory."""
