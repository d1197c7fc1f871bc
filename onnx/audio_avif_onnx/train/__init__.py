"""Train the vocoders; see README.md beside this file."""
