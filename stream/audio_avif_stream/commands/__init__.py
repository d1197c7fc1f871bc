"""Command lines: arguments in, one call each."""
