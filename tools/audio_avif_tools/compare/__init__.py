"""``audio-avif compare``: a comparison of image codecs."""
