"""``audio-avif invert`` and ``audio-avif spectrogram``: spectrograms of other programs."""
