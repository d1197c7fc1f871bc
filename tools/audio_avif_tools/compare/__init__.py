"""``audio-avif compare``: image codecs side by side."""
