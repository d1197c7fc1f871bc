"""``audio-avif-quality``: scores against bit rate, compared with other codecs."""
