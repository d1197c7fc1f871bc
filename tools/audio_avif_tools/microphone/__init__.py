"""What processing the microphone changes."""
