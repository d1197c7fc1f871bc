"""What every program that accepts connections shares."""
