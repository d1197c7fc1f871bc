"""A vocoder that is too slow for this machine is relieved by a lighter one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import numpy as np

from audio_avif.errors import ModelError
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.load import VocoderLoad
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.replaceable import ReplaceableStream
from audio_avif.vocoders.streaming import open_stream
from audio_avif_stream.runtime.realtime import normal_priority

log = logging.getLogger(__name__)

_NAMES = ("embedded", "embedded-low", GriffinLim.name)
_TRIAL_FRAMES = 8
_TRIALS = 4
_LIGHTER = 0.8  # of the time; with less to gain, a change is not worth the sound


def _cost_s(vocoder: Vocoder) -> float:
    """Processor time for a tile, which other programs do not change."""
    stream = open_stream(vocoder)
    silence = np.full((vocoder.mel.n_mels, _TRIAL_FRAMES), np.log10(vocoder.mel.floor), np.float32)
    stream.push(silence)
    began_s = time.thread_time()
    for _ in range(_TRIALS):
        stream.push(silence)
    return (time.thread_time() - began_s) / _TRIALS


def find_lighter(vocoder: Vocoder) -> Vocoder | None:
    """The vocoder for the same mel that takes the least time here; None where none takes clearly less than this one."""
    lightest, lightest_s = None, _LIGHTER * _cost_s(vocoder)
    for name in _NAMES:
        try:
            other = load_vocoder("cpu", name)
        except ModelError:
            continue
        if other.mel == vocoder.mel and (cost_s := _cost_s(other)) < lightest_s:
            lightest, lightest_s = other, cost_s
    return lightest


class Relief:
    """Watches how long sound takes to make, and where a vocoder cannot keep up, goes over to a lighter one for good.

    The lighter one is looked for in a thread, while the slow one goes on.
    """

    def __init__(
        self, stream: ReplaceableStream, vocoder: Vocoder, find: Callable[[Vocoder], Vocoder | None] = find_lighter
    ) -> None:
        self.vocoder = vocoder
        """The vocoder in use."""
        self._stream = stream
        self._find = find
        self._load = VocoderLoad()
        self._search: threading.Thread | None = None
        self._lighter: Vocoder | None = None

    def push(self, took_s: float, sound_s: float) -> bool:
        """Record that ``sound_s`` of sound took ``took_s`` to make; return whether another vocoder makes the next."""
        if self._search is None:
            if self._load.push(took_s, sound_s):
                self._search = threading.Thread(target=self._look, name="lighter vocoder", daemon=True)
                self._search.start()
            return False
        if self._lighter is None or self._search.is_alive():
            return False
        log.warning(
            "this machine is too slow for the vocoder %s; going on with %s, which is lighter",
            self.vocoder.name,
            self._lighter.name,
        )
        self._stream.replace(open_stream(self._lighter))
        self.vocoder, self._lighter, self._search = self._lighter, None, None
        self._load.reset()
        return True

    def _look(self) -> None:
        normal_priority()
        try:
            self._lighter = self._find(self.vocoder)
        except ModelError as error:
            log.debug("a lighter vocoder could not be tried: %s", error)
        if self._lighter is None:
            log.warning(
                "this machine is too slow for the vocoder %s, and none is lighter; close other programs",
                self.vocoder.name,
            )
