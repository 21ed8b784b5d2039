"""Verbs of one index: what they build and change, and what they say of wrong input and full disks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from command_line import Ask, Mistake, run_flmr
from conftest import ROOT
from json_lines import write_jsonl

from flmr.index import Index


def test_index_tells_what_it_stored(kb: Path, ask: Ask, tmp_path: Path, tiny_checkpoint: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text((kb / "passages.jsonl").read_text() + "{broken\n")
    document = ask("index", path, "--out", tmp_path / "i", "--encoder", tiny_checkpoint, "--nbits", 4)
    assert (document["encoded"], document["items"], document["nbits"]) == (4, 4, 4)
    assert "line 5" in document["skipped_lines"][0]
    again = ask("index", path, "--out", tmp_path / "i", "--encoder", tiny_checkpoint, "--nbits", 4, "--resume")
    assert again["items"] == 4


def test_pooled_index_pools_what_is_added(
    kb: Path, ask: Ask, mistake: Mistake, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    out, encoder = tmp_path / "i", ("--encoder", tiny_checkpoint)
    all_rows = ask("info", kb / "index")["vectors"]
    document = ask("index", kb / "passages.jsonl", "--out", out, *encoder, "--pool", 2)
    assert document["pool"] == 2 and document["vectors"] < all_rows
    (tmp_path / "more.jsonl").write_text('{"id": "more", "text": "a rose is a red flower"}\n')
    ask("add", out, tmp_path / "more.jsonl")
    with Index.open(out) as opened, Index.open(kb / "index") as full:
        assert len(opened.vectors("rose")) == -(-len(full.vectors("rose")) // 2)
        assert len(opened.vectors("more")) <= len(opened.vectors("rose"))
    assert ask("search", out, "--text", "red flower", "-k", 1)["hits"]
    assert "(pool=2)" in mistake("explain", out, "--text", "red flower", "--id", "rose")
    assert "pool must be a whole number" in mistake(
        "index", kb / "passages.jsonl", "--out", tmp_path / "j", *encoder, "--pool", 65
    )


def test_a_card_clusters_what_is_built_and_added_and_searches_what_is_kept(
    kb: Path,
    ask: Ask,
    mistake: Mistake,
    tmp_path: Path,
    tiny_checkpoint: Path,
    emulated_card: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flmr.ops import cuda

    calls: list[str] = []
    run = cuda._run
    monkeypatch.setattr(cuda, "_run", lambda op, *of: (calls.append(op), run(op, *of))[1])

    def on_card(op: str, *arguments: object) -> dict[str, Any]:
        calls.clear()
        document = ask(*arguments, "--device", "cuda")
        assert set(calls) == {op}
        return document

    codes, kept = tmp_path / "codes", tmp_path / "kept"
    built = ("index", kb / "passages.jsonl", "--encoder", tiny_checkpoint)
    (tmp_path / "more.jsonl").write_text('{"id": "more", "text": "a rose is a red flower"}\n')
    on_card("assign", *built, "--out", codes)
    assert on_card("assign", "add", codes, tmp_path / "more.jsonl")["items"] == 5
    ask(*built, "--out", kept, "--nbits", 0)
    asked = ("--text", "which flower is red", "--exact")
    assert on_card("maxsim_forward", "search", kept, *asked) == ask("search", kept, *asked)
    assert "build the index with nbits=0" in mistake("search", codes, *asked, "--device", "cuda")
    measured = on_card("maxsim_forward", "evaluate", kept, "--queries", kb / "questions.jsonl", "--exact")
    assert measured["sets"]["questions"]["device"] == "cuda"


def test_a_card_that_is_not_there_is_one_line_before_anything_is_read(
    kb: Path, mistake: Mistake, tmp_path: Path
) -> None:
    if pytest.importorskip("torch").cuda.is_available():
        pytest.skip("there is a CUDA device")
    cuda, gone = ("--device", "cuda"), tmp_path / "gone"
    for verb in (
        ("index", gone, "--out", tmp_path / "new"),
        ("add", gone, gone),
        ("search", gone, "--text", "red", "--exact"),
        ("evaluate", gone, "--queries", gone, "--exact"),
    ):
        assert "no CUDA device is visible to torch; use device='cpu'" in mistake(*verb, *cuda), verb
    assert "give --exact as well" in mistake("search", kb / "index", "--text", "red", *cuda)
    assert "device must be 'cpu' or 'cuda', not 'gpu'" in mistake("add", kb / "index", gone, "--device", "gpu")


def test_failed_build_can_be_run_again_and_resumed(
    kb: Path, ask: Ask, mistake: Mistake, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    lines = (kb / "passages.jsonl").read_text()
    (tmp_path / "p.jsonl").write_text(lines + "{broken\n")
    arguments = ("index", tmp_path / "p.jsonl", "--out", tmp_path / "i", "--encoder", tiny_checkpoint)
    assert "line 5" in mistake(*arguments, "--strict", "--batch-size", 2)
    assert "used batch_size 2, not 128" in mistake(*arguments, "--resume")
    assert ask(*arguments, "--batch-size", 2)["items"] == 4
    assert ask(*arguments, "--resume")["items"] == 4
    assert not (tmp_path / "i.encoding").exists()


def test_wrong_passages_and_recipes_are_one_line_and_exit_2(
    kb: Path, mistake: Mistake, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    passages, out = tmp_path / "p.jsonl", ("--out", tmp_path / "new", "--encoder", tiny_checkpoint)
    passages.write_text("")
    assert "no passage to index" in mistake("index", passages, *out)
    passages.write_text('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n')
    assert "'a'" in mistake("index", passages, *out, "--strict")
    passages.write_text('{"id": "a", "text": "x"}\n{"id": "b"}\n')
    assert "line 2" in mistake("index", passages, *out, "--strict")
    assert "gone.jsonl" in mistake("index", tmp_path / "gone.jsonl", *out)
    assert "nbits" in mistake("index", passages, *out, "--nbits", 5)
    assert "holds an index already" in mistake("index", passages, "--out", kb / "index", "--encoder", tiny_checkpoint)
    recipe = tmp_path / "r.toml"
    recipe.write_text('passages = "p.jsonl"\nnbit = 2\n')
    assert "did you mean 'nbits'" in mistake("index", recipe, *out)
    assert "no folder" in mistake("index", passages, "--out", tmp_path / "new", "--encoder", tmp_path / "nothing")


def test_default_encoder_out_of_reach_names_the_bundled_one(kb: Path, tmp_path: Path) -> None:
    done = run_flmr(
        ["index", str(kb / "passages.jsonl"), "--out", str(tmp_path / "i")],
        {"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "PreFLMR_ViT-L" in done.stderr and "--encoder bundled" in done.stderr


def test_file_in_place_of_the_output_folder_is_one_line_and_exit_2(
    kb: Path, mistake: Mistake, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "i"
    assert "file" in mistake("index", kb / "passages.jsonl", "--out", out, "--encoder", tiny_checkpoint)


def test_disk_that_fills_while_indexing_is_one_line_and_leaves_no_index(
    kb: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    # A limit on the size of files stands in for a small disk: the kernel refuses the write in the same place.
    code = (
        "import resource, sys\nfrom flmr.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\nsys.exit(main(sys.argv[1:]))"
    )
    arguments = ["index", kb / "passages.jsonl", "--out", tmp_path / "i", "--encoder", tiny_checkpoint]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1, done.stderr
    assert "cannot write" in done.stderr and not (tmp_path / "i").exists()


def test_add_update_delete_and_merge(copied: Path, ask: Ask, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "more.jsonl", [{"id": "coal", "text": "coal is black"}])
    assert ask("add", copied, tmp_path / "more.jsonl")["items"] == 5
    write_jsonl(tmp_path / "more.jsonl", [{"id": "coal", "text": "coal burns"}])
    assert ask("add", copied, tmp_path / "more.jsonl", "--update")["items"] == 5
    assert ask("delete", copied, "coal", "sky") == {"deleted": 2, "items": 3}
    assert ask("merge", copied)["segments"]["after"] == 1
    with Index.open(copied) as index:
        assert sorted(index.ids()) == ["leaf", "rose", "snow"]


WITHOUT_PERMISSION = """
import os, sys
from flmr.cli import main
assert main(["delete", sys.argv[1], "none"]) == 2  # imports what is imported late, which another user may not read
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(["delete", sys.argv[1], "rose"]))
"""


def test_folder_without_permission_is_one_line_and_exit_2(kb: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # every user may come here, unlike to pytest's folders
        Path(folder).chmod(0o755)
        index = shutil.copytree(kb / "index", Path(folder) / "index")
        index.chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_PERMISSION, str(index)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
        index.chmod(0o755)
        assert done.returncode == 2 and done.stdout == ""
        assert "permission" in done.stderr.splitlines()[-1] and len(done.stderr.splitlines()) == 2
        assert "rose" in Index.open(index).ids()


def test_an_index_is_shown_questions(copied: Path, ask: Ask, mistake: Mistake, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "asked.jsonl", [{"id": f"q{i}", "text": f"what is red and {i}"} for i in range(40)])
    assert ask("calibrate", copied, tmp_path / "asked.jsonl") == {"questions": 40, "skipped_lines": [], "kept": 16}
    assert ask("info", copied)["sample_queries"] == 16 and ask("verify", copied)["problems"] == []
    with (tmp_path / "asked.jsonl").open("a") as file:
        file.write("not JSON\n")
    (skipped,) = ask("calibrate", copied, tmp_path / "asked.jsonl")["skipped_lines"]
    assert skipped.startswith("line 41: not JSON")
    assert "line 41" in mistake("calibrate", copied, tmp_path / "asked.jsonl", "--strict")
    (tmp_path / "none.jsonl").write_text("")
    assert "there is no sample query" in mistake("calibrate", copied, tmp_path / "none.jsonl")
    assert "asked.parquet" in mistake("calibrate", copied, tmp_path / "asked.parquet")


def test_info_and_verify_need_no_torch(kb: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        f"from flmr.cli import main\nassert main(['info', r'{kb / 'index'}', '--json']) == 0\n"
        f"assert main(['verify', r'{kb / 'index'}']) == 0"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    document, rest = json.JSONDecoder().raw_decode(done.stdout)
    assert document["items"] == 4 and "is sound" in done.stdout[rest:]


def test_verify_finds_a_damaged_file_and_exits_1(copied: Path, ask: Ask) -> None:
    largest = max((p for p in copied.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 255
    largest.write_bytes(bytes(content))
    problems = ask("verify", copied, code=1)["problems"]
    assert largest.name in problems[0]
    (copied / "manifest.json").write_text("{}")
    assert ask("verify", copied, code=1)["problems"]


def test_truncated_index_file_is_one_clear_line(copied: Path, mistake: Mistake) -> None:
    largest = max((p for p in copied.rglob("*.npy")), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])
    assert largest.name in mistake("search", copied, "--text", "red")
