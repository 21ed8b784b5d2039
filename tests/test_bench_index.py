"""The benchmarks of the index alone: every way to store vectors, growth, and sizes, each in small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from benchmarks import codec_table
from benchmarks.search_data import write_synthetic
from benchmarks.search_rows import read


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_synthetic(folder, "tiny", documents=120, num_queries=4)
    return folder


def test_every_way_to_store_vectors_gets_its_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.csv"
    asked = ["--data", str(data), "--set", "tiny", "--count", "4", "--out", str(out)]
    codec_table.main([*asked, "--untimed", "--only", "2 bits"])
    codec_table.main([*asked, "--only", "2 bits, pool 4", "--repeats", "1"])
    rows = read(out)
    names = [preset.name for preset in codec_table.PRESETS]
    assert len(set(names)) == len(names) == 15
    for work in ("codec size", "codec recall exact", "codec recall default"):
        assert {row["setting"] for row in rows if row["work"] == work} == {name for name in names if "2 bits" in name}
    figures = {(row["setting"], row["work"], row["k"]): float(row["median"]) for row in rows}
    assert figures["2 bits, kept", "codec recall exact", "10"] == 1.0
    assert figures["2 bits", "codec recall exact", "10"] > figures["2 bits, pool 4", "codec recall exact", "10"]
    assert figures["2 bits, pool 4", "codec size", ""] < figures["2 bits", "codec size", ""]
    assert figures["2 bits, pool 4", "codec build cpu", ""] > 0
    lines = capsys.readouterr().out.splitlines()[-len(names) :]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == names
    assert (
        "|  |" in lines[names.index("2 bits")] and "|  |" not in lines[names.index("2 bits, pool 4")]
    )  # only that one was timed


@pytest.mark.parametrize(
    ("module", "given", "works"),
    [
        ("growth", ["--batches", "2", "--num-queries", "4"], {"growth recall exact", "growth cpu"}),
        (
            "scale",
            ["--vectors", "20000", "--repeats", "1", "--readers", "2", "--work", "WORK"],
            {"scale open_s", "scale of 2: search_s"},
        ),
    ],
)
def test_growth_and_scale_write_their_rows(
    module: str, given: list[str], works: set[str], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rows.csv"
    given = [str(tmp_path / "work") if word == "WORK" else word for word in given]
    command = [sys.executable, "-m", f"benchmarks.{module}", "--data", str(data), "--set", "tiny", "--out", str(out)]
    done = subprocess.run([*command, *given], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = read(out)
    assert works <= {row["work"] for row in rows}
    assert all(row["command"].startswith(f"python -m benchmarks.{module} ") and row["commit"] for row in rows)
