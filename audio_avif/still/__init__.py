"""Log-mel frames to pixels, and pixels to AVIF stills and back."""
