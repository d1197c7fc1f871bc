"""What a training step hears: speech, tiles as they arrive, and batches of both."""
