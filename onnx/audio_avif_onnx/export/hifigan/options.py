"""How a HiFi-GAN is exported; free of torch."""

from __future__ import annotations

DEFAULT_LOOKAHEAD_FRAMES = 2
