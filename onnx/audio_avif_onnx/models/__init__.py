"""The vocoder that comes with the package; ``MODEL_CARD.md`` says what it was trained on and how it scores."""
