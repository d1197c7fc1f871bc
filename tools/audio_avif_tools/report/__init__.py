"""The HTML report of ``audio-avif``."""
