"""Where the checkout keeps what tests read, and where a speech corpus lies beside it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
DATA = TESTS / "data"
DOCS = ROOT / "docs"
WEB = ROOT / "stream" / "audio_avif_stream" / "web"
MODELS = ROOT / "onnx" / "audio_avif_onnx" / "models"
CLIP = ROOT / "tools" / "audio_avif_tools" / "clips" / "speech.flac"
CORPUS = Path(os.environ.get("AUDIO_AVIF_CORPUS", ROOT.parent / "shared" / "corpus" / "public"))
LYRA = Path(os.environ.get("AUDIO_AVIF_LYRA", ROOT.parent / "shared" / "anchors" / "lyra"))
