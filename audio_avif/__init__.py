"""Speech as pictures: log-mel tiles, AVIF stills, a vocoder, and the stream between them."""
