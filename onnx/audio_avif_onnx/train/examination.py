"""Score a training run on clips outside its training data, to keep its best weights."""

from __future__ import annotations

from pathlib import Path

from audio_avif.config import MelConfig
from audio_avif.errors import AudioAvifError
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif_onnx.export.trained import Network
from audio_avif_onnx.train.data.corpus import read_mono
from audio_avif_onnx.train.evaluate import (
    CLEAN,
    EXAMINED_TILE,
    QUALITIES,
    choose_clips,
    evaluate,
    means,
    merit,
    receive,
    synthesizer,
    usable_scores,
)
from audio_avif_onnx.train.progress import Display

CONDITIONS = (CLEAN, *map(str, QUALITIES))
_TRIED_S = 1.2  # DNSMOS repeats it to fill one window


class Examination:
    """The clips, conditions and scores of a run."""

    def __init__(self, folder: Path, match: str, every: int, mel: MelConfig, display: Display) -> None:
        """Raise AudioAvifError where clips or the packages that score them are missing."""
        self._mel = mel
        self._display = display
        self._clips = choose_clips(folder, match, every)
        self._scores = usable_scores(display.say)
        for clip in display.each(self._clips, "reading clips to score", "clips", len(self._clips)):
            if not read_mono(clip, mel.rate_hz).any():
                raise AudioAvifError(f"{clip} is silent and cannot be scored; take it out of --clips")

    @property
    def ruler(self) -> str:
        """The names of scores, conditions and clips: only merits with the same ruler can be compared."""
        return " ".join([*self._scores, *CONDITIONS, *(clip.name for clip in self._clips)])

    def try_out(self, vocoder: Network) -> None:
        """Score a second of one clip in every condition, so that errors show before hours of training."""
        rows = evaluate(
            self._clips[:1],
            {"": synthesizer(vocoder)},
            list(CONDITIONS),
            self._mel,
            self._scores,
            seconds=_TRIED_S,
        )
        for _ in self._display.each(rows, "trying out the scores", "conditions", len(CONDITIONS)):
            pass

    def examine(self, vocoder: Network) -> tuple[float, dict[str, float]]:
        """Score a vocoder; return its merit and its mean scores by condition and score."""
        measured = evaluate(self._clips, {"": synthesizer(vocoder)}, list(CONDITIONS), self._mel, self._scores)
        rows = list(self._display.each(measured, "scoring", "rows", len(self._clips) * len(CONDITIONS)))
        figures = {
            f"{_label(condition)}/{key}": value
            for condition in CONDITIONS
            for key, value in means(row for row in rows if row.condition == condition).items()
        }
        return merit(rows), figures

    def sounds(self, vocoder: Network) -> dict[str, FloatArray]:
        """Synthesize the first clip from clean mel and from tiles of the middle quality, to listen to."""
        synthesize = synthesizer(vocoder)
        middle = QUALITIES[len(QUALITIES) // 2]
        clean = log_mel(self.original(), self._mel)
        received, _ = receive(clean, middle, self._mel, EXAMINED_TILE)
        return {CLEAN: synthesize(clean), _label(str(middle)): synthesize(received)}

    def original(self) -> FloatArray:
        """The samples of the first clip."""
        return read_mono(self._clips[0], self._mel.rate_hz)


def _label(condition: str) -> str:
    return condition if condition == CLEAN else f"quality_{condition}"
