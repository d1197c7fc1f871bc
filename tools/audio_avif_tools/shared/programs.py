"""Run a program that has nothing to show."""

from __future__ import annotations

import subprocess

from audio_avif.errors import AudioAvifError


def run_quietly(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a program and wait for its end. Raises AudioAvifError with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise AudioAvifError(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
