"""Messages are lost as the scenario says, and the same again with the same seed."""

from __future__ import annotations

import pytest

from audio_avif_tools.network.impaired_path import ImpairedPath
from audio_avif_tools.network.scenario import Loss, Scenario


@pytest.mark.parametrize("loss", [Loss.independent(0.05), Loss.bursts(0.05, 3)])
def test_losses_have_their_share_and_the_bursts_their_length(loss: Loss) -> None:
    def pattern(seed: int) -> list[bool]:
        path = ImpairedPath(Scenario("loss", loss=loss, seed=seed))
        return [path.loses_next() for _ in range(40_000)]

    lost = pattern(0)
    assert lost == pattern(0) != pattern(1)
    assert sum(lost) / len(lost) == pytest.approx(0.05, abs=0.006)
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / bursts == pytest.approx(1 / loss.leave, rel=0.1)
