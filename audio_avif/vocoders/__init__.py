"""Ways from log-mel to sound, behind one protocol."""
