"""The benchmark of the card, on a processor: checks that find what is wrong, works, rows, the table, deaths."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from benchmarks import gpu, gpu_checks, gpu_engines, gpu_right, gpu_step, gpu_works
from benchmarks.gpu_cases import GROUPS, Case
from benchmarks.gpu_engines import Engine, plain_assign, plain_maxsim
from benchmarks.gpu_exact import (
    allowed_error,
    code_error,
    code_loss,
    exact_gradients,
    exact_pairs,
    exact_scores,
    largest_error,
)
from benchmarks.gpu_rows import COLUMNS, TARGETS, Device, Row, append, newest, read, table, tables, texts, verdict
from benchmarks.gpu_run import Run, Work, compare
from benchmarks.search_rows import Birthplace
from flmr.ops.maxsim import maxsim

CPU = torch.device("cpu")
PLACE = Birthplace("2026-11-21T00:00:00+00:00", "0123456789ab", "a machine", "python -m benchmarks.gpu")
H200 = Device("NVIDIA H200", "580.1", "2.11.0", "13.0")
ONE, PAGES, TRAINING, STEP = (TARGETS[i].work for i in (0, 2, 3, 4))


def told(section: Callable[[Run], None], **how: Any) -> list[Row]:
    """The rows of a section, tiny, in this process."""
    messages: list[dict[str, Any]] = []
    section(Run(CPU, messages.append, tiny=True, paths=("cpu",), **how))
    return [Row(**message["row"]) for message in messages if "row" in message]


# --- checks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_every_seventh_case_of_a_group_holds_on_the_processor(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "GROUPS", {group: GROUPS[group]})
    (row,) = told(gpu_checks.checks, thin=7)
    assert row.note == "all passed" and row.median == row.most and int(row.most) > 1


def wrong_functions() -> dict[str, tuple[str, Callable[..., Any]]]:
    """MaxSim with one mistake each, and the group that must find it."""

    def blind(queries: Any, documents: Any, **rows: Any) -> Any:
        rows.pop("document_mask", None)
        return maxsim(queries, documents, **rows)

    def rounded(queries: Any, documents: Any, **rows: Any) -> Any:
        return maxsim(queries, documents.to(torch.bfloat16).to(documents.dtype), **rows)

    def last_row_lost(queries: Any, documents: Any, **rows: Any) -> Any:
        return maxsim(queries, documents[:, : max(1, documents.shape[1] - 1)] if not rows else documents, **rows)

    def not_below_zero(queries: Any, documents: Any, **rows: Any) -> Any:
        return maxsim(queries, documents, **rows).clamp(min=0)

    def other_winner(queries: Any, documents: Any, **rows: Any) -> Any:
        rows = {name: mask.flip(1) if name == "document_mask" else mask for name, mask in rows.items()}
        return maxsim(queries, documents.flip(1), **rows)  # of equal rows the last one wins

    return {
        "blind": ("scores", blind),
        "rounded": ("scores", rounded),
        "last row lost": ("scores", last_row_lost),
        "not below zero": ("hard inputs", not_below_zero),
        "other winner": ("gradients", other_winner),
    }


@pytest.mark.parametrize("mistake", wrong_functions())
def test_a_mistake_in_the_kernel_fails_the_checks(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    group, function = wrong_functions()[mistake]
    monkeypatch.setattr(gpu_checks, "GROUPS", {group: GROUPS[group]})
    monkeypatch.setattr(gpu_right, "maxsim", function)
    (row,) = told(gpu_checks.checks, thin=3)
    assert row.note.startswith("FAILED") and float(row.median) < float(row.most)
    assert gpu.is_wrong(row)


@pytest.mark.parametrize("path", ["mma", "wgmma"])
def test_the_kernels_source_passes_some_cases_of_every_group(path: str, emulated_card: None) -> None:
    tried = []
    for group, cases in GROUPS.items():
        if group != "multi-vectors":  # which go to the processor's own library
            kept = [case for case in cases() if not (case.large or "70000" in case.name or "8192" in case.name)]
            kept = [case for case in kept if "long" not in case.name and "many" not in case.name][:: len(kept) // 2]
            tried += [(group, case.name, gpu_checks.tried_case(case, path, CPU)[1]) for case in kept]
    assert len(tried) > 12 and [case for case in tried if case[2]] == []


def test_cases_have_names_of_their_own() -> None:
    for cases in GROUPS.values():
        names = [case.name for case in cases()]
        assert len(set(names)) == len(names)


def test_a_case_that_raises_or_brought_a_process_down_is_a_failure_and_the_others_go_on() -> None:
    def raises(_: torch.device) -> tuple[float, float]:
        raise ValueError("no such tile")

    cases = [Case("good", lambda _: (0.0, 0.0)), Case("bad", raises), Case("deadly", raises)]
    messages: list[dict[str, Any]] = []
    run = Run(CPU, messages.append, past={("check", "deadly"): "died (-11): Segmentation fault"})
    gpu_checks.run_group(run, "cpu", "check", cases)
    (row,) = [Row(**message["row"]) for message in messages if "row" in message]
    assert (row.median, row.most) == (1, 3)
    assert "bad: failed: ValueError: no such tile; deadly: died (-11): Segmentation fault" in row.note


def test_exact_scores_and_gradients_are_those_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, documents, weights = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 5, 8), (4, 7, 8), (3, 4))
    )
    rows = dict(zip(("query_mask", "document_mask"), gpu_right.masks(queries, documents, 1, empty=True), strict=True))
    scores = maxsim(queries, documents, **rows)
    torch.testing.assert_close(exact_scores(queries, documents, **rows), scores)
    assert torch.isneginf(scores[:, 0]).all() and (scores[0, 1:] == 0).all()
    known = scores.masked_fill(~rows["document_mask"].any(1), 0)
    expected = torch.autograd.grad((known * weights).sum(), (queries, documents))
    torch.testing.assert_close(exact_gradients(queries, documents, weights, **rows), expected)
    own = documents.expand(3, 4, 7, 8)
    torch.testing.assert_close(exact_pairs(queries, own), exact_scores(queries, documents))


def test_what_is_allowed_lies_between_float32_and_bfloat16() -> None:
    queries, documents = (gpu_right.gaussian((8, 32, 128), torch.bfloat16, CPU, seed) for seed in range(2))
    exact, allowed = exact_scores(queries, documents), allowed_error(queries, documents)
    assert largest_error(plain_maxsim(queries.float(), documents.float()), exact) < allowed
    assert largest_error(plain_maxsim(queries, documents), exact) > allowed
    assert largest_error(torch.full_like(exact, torch.nan), exact) == float("inf")


def test_a_code_of_a_farther_centroid_is_an_error() -> None:
    vectors, centroids = (gpu_right.gaussian((n, 16), torch.float32, CPU, n) for n in (300, 20))
    for engine in (gpu_engines.our_assign, plain_assign, gpu_engines.our_rounded_assign):
        codes = engine(vectors, centroids)
        error, allowed = code_loss(codes, vectors, centroids, 300)
        assert error <= allowed
    codes = plain_assign(vectors, centroids)
    error, allowed = code_error(codes, vectors, centroids, 300)
    assert error <= allowed
    codes[7] = (codes[7] + 1) % 20
    assert code_error(codes, vectors, centroids, 300)[0] > allowed


# --- works ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", [gpu_works.forward, gpu_works.training, gpu_works.assign])
def test_works_are_timed_beside_plain_torch_and_say_why_a_peer_is_not(section: Callable[[Run], None]) -> None:
    rows = told(section)
    assert all(row.note == "" and float(row.median) > 0 for row in rows if row.engine == "ours, cpu")
    ours = [row.work for row in rows if row.engine == "ours, cpu"]
    assert {row.work for row in rows if row.engine == "plain torch"} <= set(ours)
    assert all(float(row.error) <= float(row.allowed) for row in rows if row.engine == "ours, cpu")
    skipped = {row.engine: row.note for row in rows if row.note}
    assert skipped.pop("torch.compile", "skipped: compiled for CUDA alone") == "skipped: compiled for CUDA alone"
    assert all(note.startswith("skipped: ") for note in skipped.values())
    assert not any(gpu.is_wrong(row) for row in rows)


def test_a_step_of_the_whole_model_says_its_time_the_share_of_maxsim_and_the_largest_batch() -> None:
    rows = told(gpu_step.step)
    for engine in ("ours, cpu", "plain torch"):
        figures = {row.unit: row for row in rows if row.engine == engine}
        assert float(figures["ms"].median) > 0 and 0 < float(figures["share"].median) < 1
        assert figures["questions"].median == 8 and "at least" in figures["questions"].note


def test_plain_torch_in_the_step_has_the_scores_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for function in (maxsim, gpu_step.plain_maxsim):
        torch.manual_seed(0)
        stepper = gpu_step.Stepper(CPU, tiny=True)
        monkeypatch.setattr(stepper, "autocast", lambda: torch.autocast("cpu", enabled=False))
        torch.manual_seed(1)
        with gpu_step.scoring(function):
            losses.append(stepper.take(4, 0))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_largest_batch_is_found_to_an_eighth(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(_: Any, batch: int, __: int) -> float:
        if batch > 300:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return 0.0

    monkeypatch.setattr(gpu_step, "_timed", take)
    run = Run(CPU, lambda _: None)
    largest, note = gpu_step.largest_batch(run, None, maxsim)  # type: ignore[arg-type]
    assert 300 * 7 / 8 <= largest <= 300 and note == ""


def compared(engines: list[Engine], allowed: float = 0.0) -> dict[str, Row]:
    messages: list[dict[str, Any]] = []
    work = Work("a work", "float32", "", lambda engine: [engine.scores], lambda found: (found, allowed))  # type: ignore
    compare(Run(CPU, messages.append, tiny=True), work, engines)
    return {message["row"]["engine"]: Row(**message["row"]) for message in messages if "row" in message}


def test_ours_is_not_timed_where_it_is_wrong_and_an_engine_that_fails_says_why() -> None:
    def fails() -> float:
        raise RuntimeError("no kernel image\nsecond line")

    def too_large() -> float:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    engines = [
        Engine("ours, mma", "1", lambda: 0.5),
        Engine("ours, wgmma", "1", lambda: 0.0),
        Engine("a", "1", lambda: 0.5),
        Engine("b", "1", fails),
        Engine("c", "1", too_large),
        Engine("d", "", missing="not installed"),
        Engine("ours, nan", "1", lambda: float("nan")),
    ]
    rows = compared(engines)
    assert rows["ours, mma"].note.startswith("WRONG") and rows["ours, mma"].median == ""
    assert rows["ours, nan"].note.startswith("WRONG")
    assert rows["ours, wgmma"].note == "" and rows["ours, wgmma"].repeats
    assert rows["a"].median != "" and rows["a"].error == 0.5
    notes = {name: rows[name].note for name in "bcd"}
    assert notes == {"b": "failed: RuntimeError: no kernel image", "c": "did not fit", "d": "skipped: not installed"}


def test_a_package_of_another_version_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_engines.metadata, "version", lambda name: "0.2.1")
    engine = next(e for e in gpu_engines.maxsim_engines(CPU, ("cpu",), training=False) if e.name == "flash-maxsim")
    assert engine.missing == "0.2.1 is installed, not 0.3.0"


def test_what_time_does_not_reach_is_left_and_writes_no_row() -> None:
    messages: list[dict[str, Any]] = []
    gpu_works.assign(Run(CPU, messages.append, tiny=True, paths=("cpu",), until=time.monotonic() - 1))
    assert {"left": "assign 10M x 65,536, ours, cpu"} in messages
    assert not any("ours" in message["row"]["engine"] for message in messages if "row" in message)


# --- rows and the table -----------------------------------------------------------------------------------------------


def row(work: str, engine: str, unit: str = "ms", **columns: Any) -> dict[str, str]:
    return texts(PLACE, H200, Row(work, engine, unit, **columns))


def verdict_of(rows: list[dict[str, str]]) -> str:
    return verdict(next(target for target in TARGETS if target.work == rows[0]["work"]), rows)


def test_a_target_is_met_by_the_better_path_and_missed_where_a_peer_is_quicker() -> None:
    mma, wgmma = row(ONE, "ours, mma", median=0.03), row(ONE, "ours, wgmma", median=0.02)
    assert verdict_of([mma]) == "missed: ms 0.03"
    assert verdict_of([mma, wgmma]) == "met"
    quick = row(ONE, "flash-maxsim", median=0.015)
    assert verdict_of([mma, wgmma, quick]) == "missed: flash-maxsim is quicker"
    assert verdict_of([{**wgmma, "device": "NVIDIA H100"}]) == "met (not on an H200)"
    assert verdict_of([row(PAGES, "ours, mma", median=5.0, share=0.7)]) == "met"
    assert verdict_of([row(PAGES, "ours, mma", median=5.0, share=0.6)]) == "missed: share 0.6"
    assert verdict_of([row(STEP, "ours, mma", "share", median=0.02)]) == "met"


def test_training_is_held_against_the_time_and_memory_of_two_peers() -> None:
    ours = row(TRAINING, "ours, mma", median=10.0, memory_mb=100)
    plain = row(TRAINING, "plain torch", median=60.0, memory_mb=3000)
    assert verdict_of([ours, plain]) == "unmeasured: faster than torch.compile"
    assert verdict_of([ours, plain, row(TRAINING, "torch.compile", median=25.0)]) == "met"
    heavy = {**plain, "memory_mb": "1500"}
    assert verdict_of([ours, heavy]) == "missed: memory of plain torch 0.0667"
    did_not_fit = row(TRAINING, "plain torch", "", note="did not fit")
    assert verdict_of([ours, did_not_fit]).startswith("unmeasured: faster than plain torch")


def test_the_table_names_every_target_and_only_the_last_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert tables(read(path)).count("unmeasured") == len(TARGETS)
    append(path, row(ONE, "ours, mma", "", note="WRONG, so it was not timed"))
    append(path, {**row(ONE, "ours, mma", median=0.02, limit="copy", share=0.9), "date": "2026-11-22"})
    for note in ("begun again", "failed: no"):
        append(path, {**row(ONE, "torch.compile", "", note=note), "date": "2026-11-22"})
    with path.open() as file:
        assert next(csv.reader(file)) == COLUMNS
    assert [of["note"] for of in newest(read(path))] == ["", "failed: no"]
    text = tables(read(path))
    assert "| mma 0.02 ms, 90% of copy | torch.compile failed: no | met |" in text
    assert text.count("unmeasured") == len(TARGETS) - 1 and "NVIDIA H200, driver 580.1, torch 2.11.0" in text
    assert table([]).count("\n") == 1 + len(TARGETS)


def test_recorded_commands_name_no_folder() -> None:
    line = ["--only", "forward", "--out", "/data/gpu.csv", "--commit=abc"]
    assert gpu.recorded(line) == "python -m benchmarks.gpu --only forward"


@pytest.mark.parametrize(
    ("output", "status", "note", "errors"),
    [
        ("========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n", 0, "7 cases", 0),
        (
            "========= COMPUTE-SANITIZER\n========= Invalid __global__ read of size 16 bytes\n"
            "========= ERROR SUMMARY: 3 errors",
            99, "FAILED: Invalid __global__ read of size 16 bytes", 3,
        ),
        ("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 0, "7 cases", 0),
        ("========= COMPUTE-SANITIZER\n========= Error: Device not supported", 1, "skipped: it could not run (1)", ""),
        ("", 127, "skipped: it could not run (127): it said nothing", ""),
    ],
)  # fmt: skip
def test_the_sanitizer_s_summary_is_read(output: str, status: int, note: str, errors: int | str) -> None:
    said = json.dumps({"row": {"repeats": 7}}) + "\n" if "SUMMARY" in output else ""
    found = gpu.read_sanitizer(Row("compute-sanitizer", "ours, mma", "errors"), said + output, status)
    assert found.note.startswith(note) and found.median == errors
    assert gpu.is_wrong(found) == (errors not in ("", 0))


# --- processes --------------------------------------------------------------------------------------------------------


def session(out: Path | None = None, paths: tuple[str, ...] = ("mma", "wgmma")) -> gpu.Session:
    return gpu.Session(PLACE, H200, "cpu", True, out, time.monotonic() + 600, list(paths))


def acting(lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process that runs these lines stand in the worker's place; `options` and `tell` are theirs."""
    before = "import json, os, sys\noptions = json.loads(sys.argv[1])\nsaid = {(w, e) for w, e, _ in options['past']}\n"
    before += "def tell(**value): print(json.dumps(value), flush=True)\n"

    def start(section: str, options: dict[str, Any], log: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", before + lines, json.dumps(options)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0)

    monkeypatch.setattr(gpu, "start", start)


def test_a_process_that_dies_is_begun_again_without_what_it_was_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting(
        """
for engine in ("ours, mma", *(f"ours, {p}" for p in options["paths"][1:]), "plain torch"):
    if ("a", engine) in said: continue
    tell(begin=["a", engine])
    if engine == "ours, wgmma":
        print("an illegal memory access was encountered", file=sys.stderr); sys.stderr.flush(); os._exit(7)
    tell(row={"work": "a", "engine": engine, "unit": "ms", "median": 1.0, "least": 1.0, "most": 1.0})
tell(done="a")
tell(end="forward")
""",
        monkeypatch,
    )
    kept = session(tmp_path / "rows.csv")
    gpu.run_section(kept, "forward")
    (wrong,) = kept.failed
    assert "died (7): an illegal memory access was encountered; this path is left out" in wrong
    assert kept.paths == ["mma"]
    rows = read(tmp_path / "rows.csv")
    assert [of["engine"] for of in rows] == ["ours, mma", "ours, wgmma", "ours, mma", "plain torch"]


def test_a_process_that_says_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    acting("import time; time.sleep(600)", monkeypatch)
    monkeypatch.setattr(gpu, "SILENT", 0.25)
    kept = session()
    gpu.run_section(kept, "forward")  # returns, so the process has ended
    assert kept.failed == ["forward, : FAILED: forward hung: nothing was heard for 0 s"]
    kept = session()
    kept.until, kept.rows = time.monotonic() + 0.1 - gpu.GRACE_S, []
    assert gpu.follow(kept, "forward", [])[0] == gpu.LATE


def test_a_section_whose_processes_always_die_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    acting("tell(begin=['a', f'engine {len(said)}']); sys.exit('out of luck')", monkeypatch)
    monkeypatch.setattr(gpu, "DEATHS", 1)
    kept = session()
    gpu.run_section(kept, "forward")
    assert kept.failed == ["forward, : FAILED: given up after 2 processes died"]
    acting("sys.exit('no module named torch')", monkeypatch)  # before it begins anything
    kept = session()
    gpu.run_section(kept, "forward")
    assert kept.failed == ["forward, : FAILED: forward died (1): no module named torch"]


def test_a_section_that_time_does_not_reach_is_listed_with_its_command() -> None:
    kept = session()
    kept.until = time.monotonic() - 1
    gpu.run_section(kept, "training")
    text = gpu.summary(kept, ["forward", "training"])
    assert "not reached in training" in text and text.endswith("python -m benchmarks.gpu --only training")


def test_one_command_checks_times_writes_rows_and_prints_the_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--only", "assign,sanitizer"]
    out = tmp_path / "rows.csv"
    done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {of["engine"]: of for of in read(out) if of["work"] == "assign 10M x 65,536"}
    assert float(rows["ours, cpu"]["median"]) > 0 and rows["ours, cpu"]["torch"] == torch.__version__
    assert str(tmp_path) not in rows["ours, cpu"]["command"] and rows["ours, cpu"]["commit"]
    assert "compute-sanitizer memcheck" in done.stdout and "| assign 10M x 65,536 | >= 60%" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_the_command_ends_in_one_line_that_says_what_can_be_done() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert "torch" in line and "--device cpu --tiny" in line


def test_wrong_options_are_named() -> None:
    with pytest.raises(SystemExit, match="knows no forwards"):
        gpu.parse(["--only", "forwards"])
    with pytest.raises(SystemExit, match="needs --tiny"):
        gpu.parse(["--device", "cpu"])
