"""The command ``audio-avif``: encode recordings as pictures, and decode them."""
