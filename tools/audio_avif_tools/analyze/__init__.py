"""``audio-avif analyze``: which stage of the codec loses what."""
