"""What a relay adds to the delay, measured with one publisher and thousands of listeners."""
