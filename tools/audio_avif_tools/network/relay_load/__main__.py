"""Entry point of ``python -m audio_avif_tools.network.relay_load``."""

import sys

from audio_avif_tools.network.relay_load.command import main

sys.exit(main())
