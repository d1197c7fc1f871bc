"""One stream without I/O: samples to packets, and packets to samples."""
