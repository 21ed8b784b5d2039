"""Everything that a machine with an NVIDIA card can settle, in one command: is every kernel right, and how fast is it?

    python -m benchmarks.gpu [--only checks,forward,training,assign,step,sanitizer] [--minutes 8.5] [--out FILE]
    python -m benchmarks.gpu --table                # the newest rows beside the targets
    python -m benchmarks.gpu --device cpu --tiny    # everything but the card

Builds the CUDA library, checks each path (mma, wgmma) against float64, times it beside plain torch, torch.compile,
flash-maxsim and late-interaction-kernels, and holds it against a copy and a bf16 matrix product of the same process.
A row is written as soon as it is known.  Sections run in processes of their own: one that dies or hangs is begun again
without what it was at, and the row says so.  What time does not reach is listed with the command that measures it.
Needs torch with CUDA, a CUDA toolkit and this package's build needs (CMake, Ninja, nanobind); no network.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu_rows import OURS, TIMING, Device, Row, append, describe, is_ours, read, tables, texts
from benchmarks.search_rows import Birthplace, birthplace
from benchmarks.search_workers import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "gpu.csv"
SECTIONS = ("checks", "forward", "training", "assign", "step")
SANITIZER = "sanitizer"
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
SILENT_S = {"checks": 90.0}  # a process that says nothing for so long hangs; elsewhere torch.compile tunes
SILENT = 180.0
DEATHS = 3  # of one section, then it is given up
GRACE_S = 15.0
LATE = "stopped: time ran out"


@dataclass
class Session:
    """What one call of the command knows: where rows go, what time is left, which paths are sound."""

    place: Birthplace
    device: Device
    kind: str
    tiny: bool
    out: Path | None
    until: float
    paths: list[str]
    rows: list[Row] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)  # works that time did not reach, by section

    def add(self, row: Row) -> None:
        """Print and write a row."""
        self.rows.append(row)
        print(describe(row), flush=True)
        append(self.out, self.texts(row))

    def texts(self, row: Row) -> dict[str, str]:
        """The row as the file has it."""
        return texts(self.place, self.device, row)

    def seconds(self) -> float:
        """That are left."""
        return self.until - time.monotonic()

    @property
    def failed(self) -> list[str]:
        """What was found to be wrong."""
        return [f"{row.work}, {row.engine}: {row.note}" for row in self.rows if is_wrong(row)]


def is_wrong(row: Row) -> bool:
    """Whether a row says that something is not as it should be: of ours any failure, of others only that they died."""
    return row.note.startswith(("FAILED", "WRONG")) or (is_ours(row.engine) and row.note.startswith("failed"))


def run_section(session: Session, section: str) -> None:
    """One section to its end, begun again without what brought its process down."""
    past: list[tuple[str, str, str]] = []
    for _ in range(DEATHS + 1):
        if session.seconds() <= 0:
            session.left.setdefault(section, []).append("all that was left of it")
            return
        reason, doing = follow(session, section, past)
        if reason is None:
            return
        work, engine = doing or (section, "")
        if reason == LATE:
            session.left.setdefault(section, []).append(f"{work}, {engine}, and what follows")
            return
        if not doing:
            session.add(Row(work, engine, "", note=f"FAILED: {section} {reason}"))
            return
        past.append((work, engine, reason))
        print(f"{section} {reason} at {work}, {engine}; going on without it", flush=True)
        if engine == TIMING:
            session.add(Row(work, "", "", note=f"FAILED: {reason} while it was timed"))
        path = next((path for path in session.paths if work.endswith(f", {path}") or engine == OURS + path), None)
        if path is not None and path != session.paths[0]:  # the default path is tried in every work all the same
            session.paths.remove(path)
            session.add(
                Row(work, OURS + path, "", note=f"FAILED: {engine} {reason}; this path is left out from here on")
            )
    session.add(Row(section, "", "", note=f"FAILED: given up after {DEATHS + 1} processes died"))


def follow(
    session: Session, section: str, past: list[tuple[str, str, str]]
) -> tuple[str | None, tuple[str, str] | None]:
    """Take the rows of one process: None at its end, else how it ended and the (work, engine) that it was at."""
    options = {
        "device": session.kind, "tiny": session.tiny, "thin": 1, "paths": session.paths, "past": past,
        "seconds": session.seconds(),
    }  # fmt: skip
    doing: tuple[str, str] | None = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = start(section, options, log)
        reason: str | None = None
        try:
            for message in messages(process, SILENT_S.get(section, SILENT), session.until + GRACE_S):
                if "row" in message:
                    session.add(Row(**message["row"]))
                elif "begin" in message:
                    doing = (message["begin"][0], message["begin"][1])
                elif "done" in message:
                    past.append((message["done"], "", "done"))
                    doing = None
                elif "left" in message:
                    session.left.setdefault(section, []).append(message["left"])
                elif "end" in message:
                    process.wait()
                    return None, None
                else:
                    reason = message["problem"]
        finally:
            end(process)  # also where this command itself is interrupted
        status = process.wait()
        log.seek(0)
        lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    return reason or f"died ({status}): {lines[-1][:300] if lines else 'without a word'}", doing


def start(section: str, options: dict[str, Any], log: Any) -> subprocess.Popen[str]:
    """A worker's process."""
    command = [sys.executable, "-m", "benchmarks.gpu_worker", section, json.dumps(options)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, env=env, process_group=0)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a worker and what it started, as torch.compile's helpers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def messages(process: subprocess.Popen[str], silent_s: float, until: float) -> Iterator[dict[str, Any]]:
    """What a worker says; at the end of its words {"problem": ...} where it hangs or has run too long."""
    heard: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                heard.put(line)
        heard.put("")

    threading.Thread(target=listen, daemon=True).start()
    while True:
        wait_s = min(silent_s, until - time.monotonic())
        try:
            line = heard.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            yield {"problem": LATE if wait_s < silent_s else f"hung: nothing was heard for {silent_s:.0f} s"}
            return
        if not line:
            return
        yield json.loads(line)


def probe(kind: str) -> tuple[Device, list[str]]:
    """The device and the paths that it has; ends the command with one line where there is none."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_worker", "probe", json.dumps({"device": kind})],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise SystemExit(f"benchmarks.gpu cannot start in {sys.executable}: {lines[-1] if lines else 'no word why'}")
    facts = json.loads(done.stdout)
    if "missing" in facts:
        raise SystemExit(
            f"{facts['missing']}: nothing was measured; run this where a card is, or everything but the card with"
            " --device cpu --tiny"
        )
    paths = facts.pop("paths").split(",")
    return Device(**facts), paths


def build() -> None:
    """Both native libraries, in place; ends the command with the compiler's last lines where one does not build."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env={**os.environ, "FLMR_CUDA": "ON"},
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit("the CUDA library did not build:\n" + "\n".join(done.stdout.splitlines()[-30:]))
    print(f"built in {time.monotonic() - begun:.0f} s", flush=True)


def sanitize(session: Session) -> None:
    """Some of the checks under each tool of compute-sanitizer, where it is found."""
    program = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    for tool in TOOLS:
        work = f"compute-sanitizer {tool}"
        if session.kind != "cuda" or program is None:
            why = "it watches CUDA devices" if session.kind != "cuda" else "it was not found; it is part of the toolkit"
            session.add(Row(work, OURS + "all paths", "", note=f"skipped: {why}"))
        elif session.seconds() <= 0:
            session.left.setdefault(SANITIZER, []).append(tool)
        else:
            session.add(sanitized(session, work, [program, "--tool", tool, "--error-exitcode", "99"]))


def sanitized(session: Session, work: str, command: Sequence[str]) -> Row:
    """The row of one tool: how many errors it reported."""
    row = Row(work, OURS + ", ".join(session.paths), "errors")
    options = {
        "device": "cuda", "tiny": True, "thin": 11, "paths": session.paths, "past": [], "seconds": session.seconds(),
    }  # fmt: skip
    # each tensor an allocation of its own: in torch's pool nothing is out of bounds
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    worker = [sys.executable, "-m", "benchmarks.gpu_worker", "checks", json.dumps(options)]
    try:
        done = subprocess.run(
            [*command, *worker], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env,
            timeout=session.seconds() + GRACE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return replace(row, unit="", note=LATE)
    return read_sanitizer(row, done.stdout, done.returncode)


def read_sanitizer(row: Row, output: str, status: int) -> Row:
    """What the tool's summary says; where there is none, that it could not run."""
    found = re.search(r"SUMMARY: (\d+) (?:error|hazard)", output)
    lines = [line.strip() for line in output.splitlines() if line.startswith("=========") and line.strip("= ")]
    if found is None or "not supported" in output:
        tail = lines or output.strip().splitlines() or ["it said nothing"]
        return replace(row, unit="", note=f"skipped: it could not run ({status}): {tail[-1].strip('= ')[:200]}")
    errors = int(found[1])
    told = [json.loads(line)["row"] for line in output.splitlines() if line.startswith('{"row"')]
    cases = sum(int(row["repeats"] or 0) for row in told)
    counts = {"repeats": cases, "median": errors, "least": errors, "most": errors}
    first = f"FAILED: {lines[1].strip('= ')}"[:300] if errors and len(lines) > 1 else f"{cases} cases"
    return replace(row, **counts, note=first)


def summary(session: Session, only: Sequence[str]) -> str:
    """The table of this call's rows, what was wrong and what time did not reach."""
    text = [tables([session.texts(row) for row in session.rows])]
    text += [f"wrong: {line}" for line in session.failed]
    if session.left:
        kept = ",".join(section for section in only if section in session.left)
        text += [f"not reached in {name}: {'; '.join(works)}" for name, works in session.left.items()]
        text.append(f"that is measured by: python -m benchmarks.gpu --only {kept}")
    return "\n".join(line for line in text if line)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join((*SECTIONS, SANITIZER)), help="sections, in this order")
    parser.add_argument(
        "--minutes", type=float, default=8.5, help="nothing new is begun after them, the build included"
    )
    parser.add_argument("--paths", default="", help="of the kernels, the default one first; all that the card has")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes of nothing: does the command itself work?")
    parser.add_argument("--no-build", action="store_true", help="the library is built already")
    parser.add_argument("--commit", default="", help="of these files, where git is not there to say it")
    parser.add_argument("--out", type=Path, default=None, help=f"rows; by default {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--table", action="store_true", help="print the rows of --out and measure nothing")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.only.split(",")) - {*SECTIONS, SANITIZER})
    if unknown:
        raise SystemExit(f"--only knows no {', '.join(unknown)}; it takes {', '.join((*SECTIONS, SANITIZER))}")
    if options.device == "cpu" and not options.tiny:
        raise SystemExit("a processor is no measure of a card: --device cpu needs --tiny, which only tries the command")
    if options.out is None and not options.tiny:
        options.out = RESULTS
    return options


def recorded(arguments: Sequence[str]) -> str:
    """The command as it stands in rows: without folders of one machine."""
    kept, skipped = [], iter(arguments)
    for word in skipped:
        if word in ("--out", "--commit"):
            next(skipped, None)
        elif not word.startswith(("--out=", "--commit=")):
            kept.append(word)
    return shlex.join(["python", "-m", "benchmarks.gpu", *kept])


def main() -> None:
    """Build, then the sections that were asked for; ends with status 1 where something was wrong."""
    begun = time.monotonic()
    options = parse()
    if options.table:
        print(tables(read(options.out or RESULTS)))
        return
    device, paths = probe(options.device)
    if options.device == "cuda" and not options.no_build:
        build()
    place = birthplace(recorded(sys.argv[1:]))
    place = replace(place, commit=options.commit or place.commit)
    paths = [path for path in options.paths.split(",") if path in paths] if options.paths else paths
    until = begun + 60 * options.minutes
    session = Session(place, device, options.device, options.tiny, options.out, until, paths)
    only = [section for section in (*SECTIONS, SANITIZER) if section in options.only.split(",")]
    for section in only:
        if section == SANITIZER:
            sanitize(session)
        else:
            run_section(session, section)
    print(summary(session, only))
    sys.exit(1 if session.failed else 0)


if __name__ == "__main__":
    main()
