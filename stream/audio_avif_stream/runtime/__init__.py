"""Tasks, signals and thread priorities."""
