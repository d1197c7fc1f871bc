"""What happens between two ends, without I/O: messages, their order, arrivals, paths and rooms."""
