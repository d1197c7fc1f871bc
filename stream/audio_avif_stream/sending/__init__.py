"""The sender's side of a stream."""
