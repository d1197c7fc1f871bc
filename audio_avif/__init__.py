"""Speech as pictures: log-mel tiles, AVIF stills, a vocoder, and the stream between them."""

__version__ = "0.1.0"
