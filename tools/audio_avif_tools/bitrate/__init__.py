"""What the bits buy: rate control, pauses and encoder options."""
