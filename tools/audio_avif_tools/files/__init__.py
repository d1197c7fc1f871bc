"""The command ``audio-avif``: recordings to pictures and back."""
