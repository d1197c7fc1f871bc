"""Vocoders exported to ONNX, run by ONNX Runtime.

The contract of such a file is ``docs/reference/models.md``: input ``log_mel`` ``[batch, n_mels, frames]``, output
``samples`` ``[batch, frames * hop_samples]``, optional state as inputs ``state.NAME`` with outputs ``next.NAME``, and
metadata that carries the mel definition.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audio_avif.config import MelConfig
from audio_avif.errors import ModelError
from audio_avif.quiet import quiet_c_libraries
from audio_avif.types import FloatArray

if TYPE_CHECKING:
    import onnxruntime

log = logging.getLogger(__name__)

FORMAT_VERSION = "1"
LOOKAHEAD_STATE_FORMAT_VERSION = "2"  # of models with state and lookahead, which earlier versions would play wrongly
STATE_PREFIX = "state."
NEXT_PREFIX = "next."
_METADATA_PREFIX = "audio_avif."


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself.

    ``context_frames`` before and ``lookahead_frames`` after a chunk are what a stream feeds besides the chunk;
    ``receptive_frames`` on each side make a stream equal to whole-signal synthesis. A model with state needs no
    context. Either it needs none of the others, and its output lags ``latency_samples`` behind, or it returns its
    state as it was ``lookahead_frames`` before a call's end.
    """

    name: str
    mel: MelConfig
    lookahead_frames: int = 0
    context_frames: int = 0
    receptive_frames: int = 0
    latency_samples: int = 0

    def __post_init__(self) -> None:
        for field in ("lookahead_frames", "context_frames", "receptive_frames", "latency_samples"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must not be negative")

    def to_metadata(self, *, has_state: bool = False) -> dict[str, str]:
        """The key-value pairs stored in the ONNX file; ``has_state`` tells whether its graph has states."""
        is_newer = has_state and self.lookahead_frames > 0
        return {
            f"{_METADATA_PREFIX}format": LOOKAHEAD_STATE_FORMAT_VERSION if is_newer else FORMAT_VERSION,
            f"{_METADATA_PREFIX}name": self.name,
            f"{_METADATA_PREFIX}mel": json.dumps(self.mel.to_dict()),
            f"{_METADATA_PREFIX}lookahead_frames": str(self.lookahead_frames),
            f"{_METADATA_PREFIX}context_frames": str(self.context_frames),
            f"{_METADATA_PREFIX}receptive_frames": str(self.receptive_frames),
            f"{_METADATA_PREFIX}latency_samples": str(self.latency_samples),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelInfo:
        """Parse the pairs of an ONNX file. Raises ModelError where they are missing or make no sense."""
        own = {
            key.removeprefix(_METADATA_PREFIX): value
            for key, value in metadata.items()
            if key.startswith(_METADATA_PREFIX)
        }
        if "mel" not in own:
            raise ModelError(
                "the model has no mel definition in its metadata; "
                "export it with audio-avif-export, or add the keys of docs/reference/models.md"
            )
        if own.get("format") not in (FORMAT_VERSION, LOOKAHEAD_STATE_FORMAT_VERSION):
            raise ModelError(
                f"the model's metadata has format {own.get('format')!r}; this version reads {FORMAT_VERSION} "
                f"and {LOOKAHEAD_STATE_FORMAT_VERSION}: update audio-avif, or export the model again"
            )
        needed = {field.name for field in fields(cls)}
        if missing := sorted(_METADATA_PREFIX + key for key in needed - own.keys()):
            raise ModelError(
                f"the model's metadata lacks {' and '.join(missing)}; "
                "export it again with audio-avif-export, or add the keys of docs/reference/models.md"
            )
        try:
            return cls(
                name=own["name"],
                mel=MelConfig.from_dict(json.loads(own["mel"])),
                lookahead_frames=int(own["lookahead_frames"]),
                context_frames=int(own["context_frames"]),
                receptive_frames=int(own["receptive_frames"]),
                latency_samples=int(own["latency_samples"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the model's metadata is damaged: {error}; export it again with audio-avif-export"
            ) from error


def has_cuda() -> bool:
    """Whether ONNX Runtime was built for CUDA and an NVIDIA device is here; prints nothing where not."""
    import onnxruntime

    driver_files = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/dxg", r"C:\Windows\System32\nvcuda.dll")
    has_driver = any(Path(path).exists() for path in driver_files)
    return has_driver and "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _providers(provider: str) -> list[str]:
    """Map ``auto``, ``cpu`` or ``cuda`` to ONNX Runtime's names, never naming CUDA where there is no such device."""
    if provider == "cpu" or (provider == "auto" and not has_cuda()):
        return ["CPUExecutionProvider"]
    if not has_cuda():
        raise ModelError("--provider cuda needs an NVIDIA device and onnxruntime-gpu; use --provider cpu here")
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _open_session(path: Path, provider: str, threads: int) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"ONNX Runtime cannot be imported ({error}); reinstall audio-avif") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Trimmed and concealed tiles have many lengths, and a memory plan kept for each would grow for hours.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    providers = _providers(provider)
    try:
        # Both report on the standard streams what is also to be had as an exception or from get_providers.
        with quiet_c_libraries(), redirect_stdout(io.StringIO()):
            if len(providers) > 1:
                onnxruntime.preload_dlls(directory="")  # the wheels of the [cuda] extra, wherever pip put them
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes
        raise ModelError(f"{path} cannot be loaded by ONNX Runtime: {_first_line(error)}") from error
    if providers[0] not in session.get_providers():
        missing = "the CUDA libraries cannot be loaded; install them with: pip install 'audio-avif[cuda]'"
        if provider == "cuda":
            raise ModelError(missing)
        log.warning("%s (running on the CPU)", missing)
    return session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class OnnxVocoder:
    """A vocoder in an ONNX file: a streaming graph with state, or one without, as HiFi-GANs were once exported."""

    def __init__(self, path: str | Path, *, provider: str = "auto", threads: int = 1) -> None:
        """Load the model. Raises ModelError where the file is missing, damaged or no vocoder of this contract."""
        self._session = _open_session(Path(path), provider, threads)
        try:
            self.info = ModelInfo.from_metadata(self._session.get_modelmeta().custom_metadata_map)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        self.name = self.info.name
        self.mel = self.info.mel
        inputs = {node.name: node for node in self._session.get_inputs()}
        outputs = {node.name for node in self._session.get_outputs()}
        if "log_mel" not in inputs or "samples" not in outputs:
            raise ModelError(f"{path} lacks input log_mel or output samples; see docs/reference/models.md")
        states = [name for name in inputs if name.startswith(STATE_PREFIX)]
        if {NEXT_PREFIX + name.removeprefix(STATE_PREFIX) for name in states} != outputs - {"samples"}:
            raise ModelError(f"{path} does not return each of its states; see docs/reference/models.md for their names")
        self._state_shapes = {name: self._state_shape(path, inputs[name].shape) for name in states}
        self._output_names = ["samples", *(NEXT_PREFIX + name.removeprefix(STATE_PREFIX) for name in states)]
        self._try_out(path)

    def _try_out(self, path: str | Path) -> None:
        """Run some frames: a graph that contradicts its metadata must be refused now, not in the middle of a stream."""
        silence = np.full((self.mel.n_mels, 2), np.log10(self.mel.floor), np.float32)
        try:
            samples, _ = self.run(silence, self.zero_state())
        except ModelError as error:
            raise ModelError(f"{path} does not take {self.mel.n_mels} bands as its metadata say: {error}") from error
        if samples.shape != (2 * self.mel.hop_samples,):
            raise ModelError(
                f"{path} makes {samples.size // 2} samples per frame, not {self.mel.hop_samples} as its metadata say"
            )
        lookahead = self.info.lookahead_frames
        if not (self.has_state and lookahead):
            return
        # A call of lookahead alone makes no frame final, so it must give back the state that it was given.
        before = self.zero_state()
        silence = np.full((self.mel.n_mels, lookahead), np.log10(self.mel.floor), np.float32)
        _, after = self.run(silence, before)
        if any(not np.array_equal(after[name], before[name]) for name in before):
            raise ModelError(
                f"{path} does not return its states as of {lookahead} frames before a call's end, as its metadata "
                "promises; export it again with audio-avif-export"
            )

    @staticmethod
    def _state_shape(path: str | Path, shape: list[Any]) -> tuple[int, ...]:
        if not all(isinstance(size, int) for size in shape[1:]):
            raise ModelError(f"{path} has a state of unknown size {shape}; only the batch may be variable")
        return (1, *shape[1:])

    @property
    def is_on_cuda(self) -> bool:
        """Whether the model runs on an NVIDIA device."""
        return "CUDAExecutionProvider" in self._session.get_providers()

    @property
    def has_state(self) -> bool:
        """Whether the graph carries its own past, so that no context frames are fed again."""
        return bool(self._state_shapes)

    def zero_state(self) -> dict[str, FloatArray]:
        """The state before the first frame."""
        return {name: np.zeros(shape, np.float32) for name, shape in self._state_shapes.items()}

    def run(self, log_mel: FloatArray, state: dict[str, FloatArray]) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Run the graph once on ``[n_mels, frames]``; return ``[frames * hop_samples]`` samples and the next state.

        A model with state and lookahead returns the state as it was before the last ``info.lookahead_frames`` frames,
        and none to go on with where there are fewer.

        Raises ModelError where ONNX Runtime fails.
        """
        feeds = {"log_mel": np.ascontiguousarray(log_mel, np.float32)[None], **state}
        try:
            samples, *states = self._session.run(self._output_names, feeds)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes
            raise ModelError(f"the model fails: {_first_line(error)}") from error
        return np.asarray(samples[0], np.float32), dict(zip(state, states, strict=True))

    def synthesize(self, log_mel: FloatArray) -> FloatArray:
        """Take ``[n_mels, frames] float32, log10 magnitude``; return ``[frames * hop_samples] float32``.

        A model with state is fed silence after the last frame until its latency has passed.
        """
        if log_mel.shape[1] == 0:
            return np.zeros(0, np.float32)
        latency_frames = -(-self.info.latency_samples // self.mel.hop_samples)
        silence = np.full((self.mel.n_mels, latency_frames), np.log10(self.mel.floor), np.float32)
        samples, _ = self.run(np.concatenate([log_mel, silence], axis=1), self.zero_state())
        return samples[self.info.latency_samples :][: log_mel.shape[1] * self.mel.hop_samples]
