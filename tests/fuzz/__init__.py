"""Fuzzing of what meets a peer's bytes; ``make fuzz`` runs every target in a process of its own."""
