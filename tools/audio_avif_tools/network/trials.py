"""The trials of ``make impair``: scenarios, the options of the programs in them, and what must hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from audio_avif_tools.network.outcome import Outcome
from audio_avif_tools.network.reliability_page import Check
from audio_avif_tools.network.scenario import Loss, Scenario, disconnects

TOKEN = "a-token-for-measuring"
_SETTLED_S = 60.0  # when memory is first sampled


@dataclass(frozen=True)
class Trial:
    """A scenario, the options of the programs in it, and its requirements.

    ``restarts`` are (program, signal name, at s); ``hostile`` connections are opened during the stream.
    """

    key: str
    title: str
    scenario: Scenario
    seconds: float
    checks: Callable[[Outcome], list[Check]]
    send: tuple[str, ...] = ()
    receive: tuple[str, ...] = ()
    restarts: tuple[tuple[str, str, float], ...] = ()
    hostile: int = 0

    def lasting(self, seconds: float) -> Trial:
        """The same trial with a shorter stream; later events are left out."""
        seconds = min(seconds, self.seconds)
        scenario = replace(
            self.scenario,
            stalls=tuple(window for window in self.scenario.stalls if sum(window) < seconds - 2),
            outages=tuple(window for window in self.scenario.outages if sum(window) < seconds - 2),
        )
        restarts = tuple(restart for restart in self.restarts if restart[2] < seconds - 4)
        hostile = math.ceil(self.hostile * seconds / self.seconds)
        return replace(self, seconds=seconds, scenario=scenario, restarts=restarts, hostile=hostile)


def _at_most(what: str, value: float, limit: float, unit: str = "") -> Check:
    shown = "never" if value == math.inf else f"{value:.3g}" if abs(value) < 10 else f"{value:.0f}"
    return Check(f"{what} <= {limit:g}{unit}", shown, value <= limit)


def _none(what: str, count: float) -> Check:
    return Check(f"no {what}", f"{count:g}", count == 0)


def _quiet(outcome: Outcome) -> list[Check]:
    return [_none("tile lost", outcome.received("lost_tiles")), _stoi(outcome)]


def _stoi(outcome: Outcome) -> Check:
    score, _ = outcome.scores()
    return Check("STOI > 0.80", f"{score:.3f}", score > 0.8)


def _jitter(outcome: Outcome) -> list[Check]:
    return [
        _at_most("p95", outcome.percentile_ms(95), 350, " ms"),
        _none("ms concealed after 2 s", outcome.received_after("concealed_ms", 2)),
    ]


def _cap(outcome: Outcome) -> list[Check]:
    return [
        _at_most("codec rate", outcome.senders[0]["codec_kbps"], 8, " kbps"),
        _at_most("backlog after 2 s", outcome.backlog_ms(2), 500, " ms"),
        _at_most("longest silence", outcome.longest_gap_s(5), 2, " s"),
    ]


def _silently_lost(outcome: Outcome) -> int:
    """The number of sent tiles that the receiver does not account for."""
    told = sum(outcome.received(key) for key in ("received_tiles", "late_tiles", "repeated_tiles", "lost_tiles"))
    return max(0, outcome.sent("sent_tiles") - told)


def _stall(outcome: Outcome) -> list[Check]:
    return [_settled(outcome, 3), _none("tile lost silently", _silently_lost(outcome))]


def _settled(outcome: Outcome, limit_s: float) -> Check:
    worst_s = max((recovery.settled_s for recovery in outcome.recoveries()), default=math.inf)
    return _at_most("delay within one tile in", worst_s, limit_s, " s")


def _heard_again(outcome: Outcome, limit_s: float) -> Check:
    worst_s = max((recovery.heard_again_s for recovery in outcome.recoveries()), default=math.inf)
    return _at_most("heard again in", worst_s, limit_s, " s")


def _disconnects(outcome: Outcome) -> list[Check]:
    growth_mb = max(outcome.growth_mb(program, _SETTLED_S) for program in ("send", "recv"))
    reconnections = outcome.senders[0].get("reconnections", 0)
    return [
        Check(f"{len(outcome.events)} resumed", f"{reconnections}", reconnections == len(outcome.events)),
        _heard_again(outcome, 2),
        _at_most("memory grows by", growth_mb, 5, " MB"),
    ]


def _hostile(outcome: Outcome) -> list[Check]:
    lost = sum(outcome.received(key) for key in ("lost_tiles", "late_tiles", "skipped_tiles"))
    return [
        _none("tile lost, late or skipped", lost + outcome.sent("dropped_tiles")),
        _none("ms concealed after 2 s", outcome.received_after("concealed_ms", 2)),
        _none("hostile connection left open", outcome.left_open),
    ]


def _loss(outcome: Outcome) -> list[Check]:
    return [_stoi(outcome)]


def _gone(outcome: Outcome) -> list[Check]:
    return [_heard_again(outcome, 5), _settled(outcome, 8)]


_RANDOM, _BURSTS = Loss.independent(0.05), Loss.bursts(0.05, 3)
TRIALS = {
    trial.key: trial
    for trial in (
        Trial("quiet", "a quiet path", Scenario("quiet"), 40, _quiet),
        Trial("jitter", "50 +- 20 ms each way", Scenario("jitter", delay_ms=50, jitter_ms=20), 40, _jitter),
        Trial(
            "cap",
            "8 kbps of wire upstream while 12 are asked of the codec",
            Scenario("cap", cap_kbps=8, queue_bytes=16_384),
            60,
            _cap,
            send=("--bitrate", "12"),
        ),
        Trial("stall", "a stall of 2 s", Scenario("stall", delay_ms=10, stalls=((12, 2),)), 25, _stall),
        Trial(
            "disconnects",
            "30 disconnects in 5 minutes, each down for 0.1 to 2 s",
            Scenario("disconnects", delay_ms=10, outages=disconnects(30, 10, 2)),
            305,
            _disconnects,
        ),
        Trial(
            "hostile",
            "200 hostile connections beside the stream",
            Scenario("hostile"),
            60,
            _hostile,
            send=("--token", TOKEN),
            receive=("--token", TOKEN),
            hostile=200,
        ),
        Trial("loss", "5 % of messages lost at random", Scenario("loss", loss=_RANDOM), 60, _loss),
        Trial("bursts", "5 % lost in bursts of 3 (Gilbert)", Scenario("bursts", loss=_BURSTS), 60, _loss),
        Trial(
            "loss-copies",
            "5 % at random, --redundancy 1",
            Scenario("loss", loss=_RANDOM),
            60,
            _loss,
            send=("--redundancy", "1"),
        ),
        Trial(
            "bursts-copies",
            "5 % in bursts, --redundancy 1",
            Scenario("bursts", loss=_BURSTS),
            60,
            _loss,
            send=("--redundancy", "1"),
        ),
        Trial(
            "receiver",
            "the receiver ended by Ctrl-C, later killed, started again each time",
            Scenario("receiver"),
            45,
            _gone,
            restarts=(("recv", "SIGINT", 12), ("recv", "SIGKILL", 28)),
        ),
        Trial(
            "sender",
            "the sender killed and started again",
            Scenario("sender"),
            30,
            _gone,
            restarts=(("send", "SIGKILL", 12),),
        ),
        Trial(
            "cut-30", "the network gone for 30 s, connections cut", Scenario("cut-30", outages=((12, 30),)), 65, _gone
        ),
        Trial("silent-30", "the network silent for 30 s", Scenario("silent-30", stalls=((12, 30),)), 65, _gone),
    )
}
