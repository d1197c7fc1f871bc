"""The receiver's side of a stream."""
