"""``make fuzz``: runs every target on its inputs, keeps failing inputs, and writes ``docs/measurements/fuzzing.md``."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, read_block, replace_block
from fuzz.targets import MAX_CPU_S, MAX_GROWTH_KB, TARGETS, Target

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "measurements" / "fuzzing.md"
COMMAND = "make fuzz"
CHILD = ("-m", "fuzz.child")
# Without these, what libFuzzer does next depends on the clock.
_REPRODUCIBLE = ("-reload=0", "-entropic=0")
_MAX_FINDINGS = 5
_MAX_RESIDENT_MB = 2048  # libFuzzer's own grows by 4 KB an input; what an input itself takes is bounded apart
_MAX_HUNG_S = 10


@dataclass(frozen=True)
class Finding:
    """An input that a target does not stand, and how it fell."""

    input: Path | None
    what: str


@dataclass(frozen=True)
class Result:
    """What became of one target."""

    target: Target
    inputs: int
    took_s: float
    edges: int
    findings: Sequence[Finding]

    def row(self) -> str:
        """The result in Markdown."""
        found = "; ".join(finding.what.replace("|", "\\|") for finding in self.findings) or "none"
        cells = (
            f"`{self.target.name}`",
            self.target.reads,
            f"{self.inputs:,}",
            f"{self.took_s:.0f}",
            self.edges,
            found,
        )
        return "| " + " | ".join(map(str, cells)) + " |"


def fuzz(target: Target, inputs: int, folder: Path, child: Sequence[str] = CHILD) -> Result:
    """Run a target on so many inputs, in processes that may die; each goes on with another seed where one fell."""
    shutil.rmtree(folder / target.name, ignore_errors=True)
    corpus, started = folder / target.name / "corpus", folder / target.name / "seeds"
    kept = folder / "findings"
    for path in (corpus, started, kept):
        path.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (started / f"{number:04}").write_bytes(data)
    began_s = time.monotonic()
    done, edges, seed = 0, 0, 0
    findings: list[Finding] = []
    while done < inputs and len(findings) < _MAX_FINDINGS:
        seed += 1
        options = (
            f"-atheris_runs={inputs - done + 1}",  # one of them is empty, before all others
            f"-seed={seed}",
            *_REPRODUCIBLE,
            f"-timeout={_MAX_HUNG_S}",
            f"-rss_limit_mb={_MAX_RESIDENT_MB}",
            f"-artifact_prefix={kept}/{target.name}-",
            "-print_final_stats=1",
        )
        ended = subprocess.run(
            [sys.executable, *child, target.name, *options, str(corpus), str(started)],
            env={**_environment(), "PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        log = ended.stdout
        (folder / target.name / f"{seed}.log").write_text(log)
        edges = max([edges, *map(int, re.findall(r"\bcov: (\d+)", log))])
        is_whole = ended.returncode in (0, -signal.SIGALRM)  # libFuzzer's alarm may ring while the interpreter ends
        if is_whole and (whole := re.search(r"^Done (\d+) in", log, re.MULTILINE)):
            done += int(whole[1]) - 1
            continue
        counted = re.search(r"number_of_executed_units: (\d+)", log)
        done += int(counted[1]) - 1 if counted else 0
        findings.append(_finding(ended.returncode, log))
        if not counted:
            break
    return Result(target, done, time.monotonic() - began_s, edges, findings)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _finding(code: int, log: str) -> Finding:
    """What the child's last words say."""
    file = re.search(r"Test unit written to (\S+)", log)
    error = re.search(r"Uncaught Python exception: ===\n(.+)", log) or re.search(r"ERROR: libFuzzer: (.+)", log)
    last = log.strip().splitlines()[-1:] or [""]
    what = error[1] if error else f"the process ended with {code}: {last[0]}"
    return Finding(Path(file[1]) if file else None, what)


def section(results: Sequence[Result], date: str, earlier: str = "") -> str:
    """The block of the page; rows of targets that were not run stay as they are in the ``earlier`` one."""
    rows = {name: row for row, name in re.findall(r"^(\| ?`([\w-]+)` ?\|.*)$", earlier, re.MULTILINE)}
    rows |= {result.target.name: result.row() for result in results}
    lines = [
        paragraph(f"Measured by `{COMMAND}` on {date}: {machine()}, atheris {version('atheris')}."),
        "",
        "| target | code that reads the inputs | inputs | seconds | edges | findings |",
        "|---|---|---|---|---|---|",
        *(rows[name] for name in TARGETS if name in rows),
        "",
        paragraph(
            "Inputs are mutations of real tiles and messages and of the malformed ones of the tests, made by libFuzzer "
            "with fixed seeds. An input is a finding if it raises anything but the one documented error, takes over "
            f"{MAX_CPU_S:g} s of processor time or {MAX_GROWTH_KB // 1024} MB, or ends the process. Each target runs "
            "in a process of its own. Edges are those of this package's Python code. libavif and dav1d are compiled "
            "without instrumentation: they get real pictures, damaged and spliced, but their coverage is not measured."
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the targets; exits with 1 where there is a finding."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000, help="per target (default: %(default)s)")
    parser.add_argument("--only", choices=TARGETS, help="one target; the rows of the others stay")
    parser.add_argument("--folder", type=Path, default=TESTS.parent / "runs" / "fuzz", help="for inputs and findings")
    options = parser.parse_args()
    if find_spec("atheris") is None:
        sys.exit("atheris is not installed; pip install 'audio-avif[fuzz]'")
    results = []
    for name in [options.only] if options.only else TARGETS:
        print(f"fuzzing {name} ...", flush=True)
        results.append(fuzz(TARGETS[name], options.inputs, options.folder))
        print(f"  {results[-1].row()}", flush=True)
        for finding in results[-1].findings:
            print(f"  FINDING in {name}: {finding.what}; its input is {finding.input}", flush=True)
    block = section(results, time.strftime("%Y-%m-%d", time.gmtime()), read_block(PAGE, COMMAND))
    replace_block(PAGE, COMMAND, block, "Fuzzing")
    print(f"wrote {PAGE}")
    sys.exit(any(result.findings or result.inputs < options.inputs for result in results))


if __name__ == "__main__":
    main()
