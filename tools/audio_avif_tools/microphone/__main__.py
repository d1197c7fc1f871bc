"""Entry point of ``python -m audio_avif_tools.microphone``."""

import sys

from audio_avif_tools.microphone.command import main

sys.exit(main())
