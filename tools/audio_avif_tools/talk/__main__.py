"""Entry point of ``python -m audio_avif_tools.talk``."""

import sys

from audio_avif_tools.talk.command import main

sys.exit(main())
