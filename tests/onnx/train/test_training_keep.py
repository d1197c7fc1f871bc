"""Weights that are kept are those of the checkpoint, and a run starts from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.training import configuration, weights, write_speech

torch = pytest.importorskip("torch")
from audio_avif_onnx.train import keep
from audio_avif_onnx.train import run as train


def test_a_run_starts_from_kept_weights(tmp_path: Path) -> None:
    data = write_speech(tmp_path / "data", 1.0)
    train.train(configuration(data, tmp_path / "one", task="wave", steps=1))
    one, kept = tmp_path / "one" / "last.pt", tmp_path / "kept.pt"
    assert keep.main([str(one), str(kept)]) == 0
    assert kept.stat().st_size < one.stat().st_size / 5
    train.train(configuration(data, tmp_path / "two", task="wave", steps=0), init=kept)
    before, after = weights(one), weights(tmp_path / "two" / "last.pt")
    for name, value in before.items():
        if name.startswith("average.vocoder."):
            assert torch.allclose(after[name], value, rtol=1e-3, atol=1e-6), name


def test_what_is_no_checkpoint_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pt").write_bytes(b"no zip")
    assert keep.main([str(tmp_path / "x.pt"), str(tmp_path / "y.pt")]) == 1
    assert "not a checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "y.pt").exists()


def test_a_checkpoint_is_never_overwritten_by_its_weights(tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.pt"
    checkpoint.write_bytes(b"all")
    for target in (checkpoint, tmp_path / "weights.bin"):
        with pytest.raises(SystemExit) as raised:
            keep.main([str(checkpoint), str(target)])
        assert raised.value.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"] and checkpoint.read_bytes() == b"all"


def test_several_checkpoints_are_averaged_if_they_are_of_one_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_speech(tmp_path / "data", 1.0)
    files = []
    for name, model, seed in (("a", "embedded", 0), ("b", "embedded", 1), ("low", "embedded-low", 0)):
        out = tmp_path / name
        train.train(configuration(data, out, model=model, task="wave", steps=0, seed=seed, variants=0))
        files.append(out / "last.pt")
    target = tmp_path / "mean.pt"
    assert keep.main([*map(str, files[:2]), str(target)]) == 0
    one, other = (weights(path) for path in files[:2])
    for name, value in torch.load(target, weights_only=True)["average"].items():
        mean = (one[f"average.{name}"] + other[f"average.{name}"]) / 2
        assert torch.allclose(value.float(), mean, rtol=1e-3, atol=1e-6), name
    assert keep.main([*map(str, files), str(target)]) == 1
    assert "another architecture" in capsys.readouterr().err
