"""``audio-avif analyze``: the loss of each stage of the codec."""
