"""``python -m audio_avif_onnx.train``."""

import sys

from audio_avif_onnx.train.run import main

sys.exit(main())
