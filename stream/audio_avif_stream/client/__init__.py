"""What every program that opens connections shares."""
