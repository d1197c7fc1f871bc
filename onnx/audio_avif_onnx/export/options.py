"""Options of the export of a HiFi-GAN without state; imports no torch."""

from __future__ import annotations

DEFAULT_CONTEXT_FRAMES = 8


DEFAULT_LOOKAHEAD_FRAMES = 2
