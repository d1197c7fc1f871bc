"""The core's only modules that touch the machine: sound devices, files and the console."""
