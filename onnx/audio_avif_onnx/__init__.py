"""The model workshop: exporters, the bundled models and the training program."""
