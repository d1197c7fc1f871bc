"""One target under libFuzzer: ``python -m fuzz.child TARGET [libFuzzer's options and folders]``."""

from __future__ import annotations

import logging
import random
import sys

import atheris

with atheris.instrument_imports(include=["audio_avif", "audio_avif_stream", "json"]):
    from fuzz.targets import TARGETS, run_within_bounds


def main() -> None:
    """Fuzz until libFuzzer's options say stop; a bug ends the process and leaves its input."""
    logging.disable()
    target = TARGETS[sys.argv.pop(1)]

    def mutate(data: bytes, max_bytes: int, seed: int) -> bytes:
        return target.mutate(data, max_bytes, random.Random(seed), atheris.Mutate)

    def take(data: bytes) -> None:
        run_within_bounds(target, data)

    atheris.Setup([*sys.argv, f"-max_len={target.max_bytes}"], take, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
