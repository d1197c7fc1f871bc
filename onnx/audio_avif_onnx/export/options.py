"""How a HiFi-GAN without state is exported; free of torch."""

from __future__ import annotations

DEFAULT_CONTEXT_FRAMES = 8


DEFAULT_LOOKAHEAD_FRAMES = 2
