"""``audio-avif-latency``: delay from mouth to ear."""
