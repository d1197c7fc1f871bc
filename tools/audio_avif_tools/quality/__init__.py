"""``audio-avif-quality``: scores over rate, beside other codecs."""
