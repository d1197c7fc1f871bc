"""Clips of a speech corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audio_avif.edge.sound_files import read_audio
from audio_avif.types import FloatArray
from audio_avif_tools.shared.signals import demo_clip


def clean_clips(corpus: Path | None) -> list[Path]:
    """Return the corpus clips whose file names mark them as clean."""
    return [] if corpus is None else sorted(corpus.glob("*_clean_*.flac"))


def speech(corpus: Path | None) -> tuple[FloatArray, str]:
    """Return the concatenated clean clips of a corpus, or the bundled clip, ``[samples]``, and its description."""
    clips = clean_clips(corpus)
    if not clips:
        return demo_clip(), "the bundled synthetic clip, over and over"
    return np.concatenate([read_audio(clip) for clip in clips]), f"{len(clips)} clips of real speech"
