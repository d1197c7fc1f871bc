"""The link between two ends, without I/O: messages, protocol, jitter, congestion, takeover and rooms."""
