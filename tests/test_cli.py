"""The command line: what each verb prints, to which stream, with which exit code, on good input and on bad."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from tiny_checkpoint import tiny_checkpoint  # noqa: F401  (a fixture)

from flmr.cli import main
from flmr.index import Index

TEXTS = {
    "rose": "a rose is a red flower",
    "sky": "the sky is blue",
    "leaf": "a leaf is green",
    "snow": "snow is white and cold",
}


@pytest.fixture(scope="session")
def kb(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:  # noqa: F811
    """A folder with passages, questions, pictures, and an index of them that tests only read."""
    folder = tmp_path_factory.mktemp("kb")
    lines = [{"id": name, "title": name.title(), "text": text, "n": len(text)} for name, text in TEXTS.items()]
    write_lines(folder / "passages.jsonl", lines)
    Image.new("RGB", (40, 40), (0, 0, 255)).save(folder / "blue.png")
    (folder / "cut.png").write_bytes((folder / "blue.png").read_bytes()[:30])
    questions = [
        {"id": "q1", "question": "which flower is red", "positive_ids": ["rose"], "answers": ["red"], "kind": "words"},
        {"id": "q2", "image": "blue.png", "question": "what is it", "positive_ids": ["sky"], "kind": "picture"},
        {"id": "q3", "image": "cut.png", "question": "what is it", "positive_ids": ["leaf"], "kind": "picture"},
    ]
    write_lines(folder / "questions.jsonl", questions)
    assert flmr("index", folder / "passages.jsonl", "--out", folder / "index", "--encoder", tiny_checkpoint) == 0
    return folder


def write_lines(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def flmr(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


Ask = Callable[..., dict[str, object]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a verb with --json; what it printed, which must be one document and nothing else."""

    def run(*arguments: object, code: int = 0) -> dict[str, object]:
        capsys.readouterr()
        assert flmr(*arguments, "--json") == code
        document = json.loads(capsys.readouterr().out)
        assert isinstance(document, dict)
        return document

    return run


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a verb that must fail as the caller's mistake: nothing on stdout, one line on stderr, which is returned."""

    def run(*arguments: object, code: int = 2) -> str:
        capsys.readouterr()
        assert flmr(*arguments) == code
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
        assert out == "" and len(lines) == 1 and lines[0].startswith("error: "), (out, err)
        return lines[0]

    return run


@pytest.fixture
def copied(kb: Path, tmp_path: Path, tiny_checkpoint: Path) -> Path:  # noqa: F811
    """An index of its own for a test that changes it."""
    assert flmr("index", kb / "passages.jsonl", "--out", tmp_path / "index", "--encoder", tiny_checkpoint) == 0
    return tmp_path / "index"


def test_index_tells_what_it_stored(kb: Path, ask: Ask, tmp_path: Path, tiny_checkpoint: Path) -> None:  # noqa: F811
    path = tmp_path / "p.jsonl"
    path.write_text((kb / "passages.jsonl").read_text() + "{broken\n")
    document = ask("index", path, "--out", tmp_path / "i", "--encoder", tiny_checkpoint, "--nbits", 4)
    assert (document["encoded"], document["items"], document["nbits"]) == (4, 4, 4)
    assert "line 5" in document["skipped_lines"][0]  # type: ignore[index]
    again = ask("index", path, "--out", tmp_path / "i", "--encoder", tiny_checkpoint, "--nbits", 4, "--resume")
    assert again["items"] == 4


def test_pooled_index_pools_what_is_added(
    kb: Path,
    ask: Ask,
    mistake: Callable[..., str],
    tmp_path: Path,
    tiny_checkpoint: Path,  # noqa: F811
) -> None:
    out, encoder = tmp_path / "i", ("--encoder", tiny_checkpoint)
    all_rows = ask("info", kb / "index")["vectors"]
    document = ask("index", kb / "passages.jsonl", "--out", out, *encoder, "--pool", 2)
    assert document["pool"] == 2 and document["vectors"] < all_rows  # type: ignore[operator]
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


def test_failed_build_can_be_run_again_and_resumed(
    kb: Path,
    ask: Ask,
    mistake: Callable[..., str],
    tmp_path: Path,
    tiny_checkpoint: Path,  # noqa: F811
) -> None:
    lines = (kb / "passages.jsonl").read_text()
    (tmp_path / "p.jsonl").write_text(lines + "{broken\n")
    arguments = ("index", tmp_path / "p.jsonl", "--out", tmp_path / "i", "--encoder", tiny_checkpoint)
    assert "line 5" in mistake(*arguments, "--strict", "--batch-size", 2)
    assert "used batch_size 2, not 128" in mistake(*arguments, "--resume")
    assert ask(*arguments, "--batch-size", 2)["items"] == 4
    assert ask(*arguments, "--resume")["items"] == 4
    assert not (tmp_path / "i.encoding").exists()


def test_search_prints_hits_and_json_the_same(kb: Path, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    document = ask("search", kb / "index", "--text", "which flower is red", "-k", 2)
    hits = document["hits"]
    assert isinstance(hits, list) and len(hits) == 2 and [hit["rank"] for hit in hits] == [1, 2]
    assert set(hits[0]) == {"id", "score", "rank", "title", "text", "image", "meta"}
    assert flmr("search", kb / "index", "--text", "which flower is red", "-k", 2) == 0
    printed = capsys.readouterr().out
    assert all(hit["id"] in printed and f"{hit['score']:.3f}" in printed for hit in hits)


def test_search_takes_pictures_filters_and_exact(kb: Path, ask: Ask) -> None:
    document = ask("search", kb / "index", "--image", kb / "blue.png", "--where", '{"n": {"gt": 20}}', "--exact")
    assert {hit["id"] for hit in document["hits"]} == {"rose", "snow"}  # type: ignore[attr-defined]


def test_search_of_a_file_writes_a_run_and_counts_unreadable_pictures(kb: Path, ask: Ask, tmp_path: Path) -> None:
    run = tmp_path / "out.trec"
    document = ask("search", kb / "index", "--queries", kb / "questions.jsonl", "--run", run, "-k", 2)
    assert document["queries"] == 3 and list(document["unreadable"]) == ["q3"]  # type: ignore[call-overload]
    assert [line.split()[0] for line in run.read_text().splitlines()] == ["q1", "q1", "q2", "q2"]


def test_hybrid_search_and_measuring_use_the_words_too(kb: Path, ask: Ask) -> None:
    pytest.importorskip("bm25s", reason="searching by words needs bm25s")
    asked = ("--hybrid", "weighted", "--weight", 0)
    hits = ask("search", kb / "index", "--text", "which flower is red", *asked)["hits"]
    assert [hit["id"] for hit in hits] == ["rose"]  # type: ignore[attr-defined]  # no other passage shares a word
    more = ask("search", kb / "index", "--text", "red", "--hybrid", "rrf", "--feedback", 1, "--refine")["hits"]
    assert {hit["id"] for hit in more} == set(TEXTS)  # type: ignore[attr-defined]
    document = ask("evaluate", kb / "index", "--queries", kb / "questions.jsonl", *asked)
    measured = document["sets"]["questions"]  # type: ignore[index]
    assert json.loads(measured["hybrid"])["weight"] == 0


def test_runs_are_fused_into_one(ask: Ask, mistake: Callable[..., str], tmp_path: Path) -> None:
    rows, words, out = (tmp_path / name for name in ("rows.trec", "words.trec", "out.trec"))
    rows.write_text("q1 Q0 a 1 9.0 x\nq1 Q0 b 2 5.0 x\nq1 Q0 c 3 1.0 x\n")
    words.write_text("q1 Q0 c 1 4.0 y\nq1 Q0 b 2 3.0 y\n")
    assert ask("fuse", rows, words, "--out", out, "--method", "weighted", "--weights", ".2,.8", "-k", 2)["queries"] == 1
    assert [line.split()[2:4] for line in out.read_text().splitlines()] == [["c", "1"], ["a", "2"]]
    words.write_text("q2 Q0 c 1 4.0 y\n")
    assert "run 1 lacks 1 of 2 questions, 'q2' among them" in mistake("fuse", rows, words, "--out", out)
    assert ask("fuse", rows, words, "--out", out, "--missing-ok")["queries"] == 2
    assert "fused by 'rrf' or 'weighted', not by 'best'" in mistake("fuse", rows, "--out", out, "--method", "best")
    assert "--weights takes numbers" in mistake("fuse", rows, "--out", out, "--weights", "a,b")


def test_wrong_hybrid_settings_are_one_clear_line(kb: Path, mistake: Callable[..., str]) -> None:
    asked = ("search", kb / "index", "--text", "red")
    assert "fused by 'rrf' or 'weighted', not by 'both'" in mistake(*asked, "--hybrid", "both")
    assert "weight of hybrid must be a number from 0 to 1" in mistake(*asked, "--hybrid", "rrf", "--weight", 2)
    assert "give --hybrid rrf or weighted" in mistake(*asked, "--feedback", 3)


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


def test_add_update_delete_and_merge(copied: Path, ask: Ask, tmp_path: Path) -> None:
    write_lines(tmp_path / "more.jsonl", [{"id": "coal", "text": "coal is black"}])
    assert ask("add", copied, tmp_path / "more.jsonl")["items"] == 5
    write_lines(tmp_path / "more.jsonl", [{"id": "coal", "text": "coal burns"}])
    assert ask("add", copied, tmp_path / "more.jsonl", "--update")["items"] == 5
    assert ask("delete", copied, "coal", "sky") == {"deleted": 2, "items": 3}
    assert ask("merge", copied)["segments"]["after"] == 1  # type: ignore[index]
    with Index.open(copied) as index:
        assert sorted(index.ids()) == ["leaf", "rose", "snow"]


def test_an_index_is_shown_questions(copied: Path, ask: Ask, mistake: Callable[..., str], tmp_path: Path) -> None:
    write_lines(tmp_path / "asked.jsonl", [{"id": f"q{i}", "text": f"what is red and {i}"} for i in range(40)])
    assert ask("calibrate", copied, tmp_path / "asked.jsonl") == {"questions": 40, "kept": 16}
    assert ask("info", copied)["sample_queries"] == 16 and ask("verify", copied)["problems"] == []
    (tmp_path / "none.jsonl").write_text("")
    assert "there is no sample query" in mistake("calibrate", copied, tmp_path / "none.jsonl")
    assert "asked.parquet" in mistake("calibrate", copied, tmp_path / "asked.parquet")


def test_verify_finds_a_damaged_file_and_exits_1(copied: Path, ask: Ask) -> None:
    largest = max((p for p in copied.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 255
    largest.write_bytes(bytes(content))
    problems = ask("verify", copied, code=1)["problems"]
    assert isinstance(problems, list) and largest.name in problems[0]
    (copied / "manifest.json").write_text("{}")
    assert ask("verify", copied, code=1)["problems"]


def test_truncated_index_file_is_one_clear_line(copied: Path, mistake: Callable[..., str]) -> None:
    largest = max((p for p in copied.rglob("*.npy")), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])
    assert largest.name in mistake("search", copied, "--text", "red")


def test_explain_writes_a_page(kb: Path, ask: Ask, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    asked = ("--text", "what is it", "--image", kb / "blue.png", "--id", "leaf", "--out", page)
    document = ask("explain", kb / "index", *asked)
    assert document["id"] == "leaf" and page.read_text().count("data:image/png") == 1
    parts = document["parts"]
    assert isinstance(parts, list) and [part["kind"] for part in parts] == ["text", "image", "region"]
    assert sum(part["score"] for part in parts) == pytest.approx(document["score"], abs=1e-3)
    best = ask("explain", kb / "index", "--text", "red", "--out", page)
    assert best["rank"] == 1


def test_regions_of_the_picture_are_asked_about(kb: Path, ask: Ask, tmp_path: Path) -> None:
    asked = ("--text", "what is it", "--image", kb / "blue.png", "--region", "0,0,.5,1", "--region", ".25,.25,.75,1")
    document = ask("explain", kb / "index", *asked, "--out", tmp_path / "page.html")
    rows = document["rows"]
    assert isinstance(rows, list)
    assert [row["label"] for row in rows if row["label"].startswith("region 2, image")] == [
        f"region 2, image {i}" for i in range(4)
    ]
    found = ask("search", kb / "index", *asked, "-k", "1")
    assert isinstance(found["query"], dict) and found["query"]["regions"] == [[0, 0, 0.5, 1], [0.25, 0.25, 0.75, 1]]
    for wrong in ("0,0,1", "0,0,40,40", "left"):
        assert flmr("search", kb / "index", "--image", kb / "blue.png", "--region", wrong) == 2
    assert flmr("search", kb / "index", "--text", "red", "--region", "0,0,1,1") == 2


def test_evaluate_reports_both_recalls_chance_and_misses(kb: Path, ask: Ask, tmp_path: Path) -> None:
    questions, results, run = kb / "questions.jsonl", tmp_path / "results.json", tmp_path / "out.trec"
    options = ("--queries", questions, "-k", "1,4", "--by", "kind", "--against-exact", "--out", results, "--run", run)
    document = ask("evaluate", kb / "index", *options)
    one = document["sets"]["questions"]  # type: ignore[index]
    values = {row["measure"]: row for row in one["report"]["rows"]}
    assert values["strict_recall@4"]["value"] == pytest.approx(2 / 3)
    assert values["strict_recall@4"]["chance"] == 1.0 and values["pseudo_recall@4"]["value"] == 1.0
    assert list(one["unreadable_images"]) == ["q3"] and set(one["groups"]) == {"words", "picture"}
    assert set(one["against_exact"]) == {"recall@10", "recall@100"}
    assert json.loads(results.read_text()) == document and document["command"]
    assert len(run.read_text().splitlines()) == 8


def test_evaluate_prints_tables_and_appends_result_rows(
    kb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ((), ("--drop-image",)):
        out = ("-k", "1,2", "--out", tmp_path / "rows.jsonl")
        assert flmr("evaluate", kb / "index", "--queries", kb / "questions.jsonl", *out, *extra) == 0
    out, err = capsys.readouterr()
    assert "strict recall" in out and "pseudo recall" in out and "chance" in out and "cut.png" in err
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["drop_image"] for row in rows] == [False, True] and rows[0]["num_queries"] == 3


def test_evaluate_measures_the_sets_of_a_recipe(kb: Path, ask: Ask, tmp_path: Path) -> None:
    recipe = tmp_path / "kb.toml"
    recipe.write_text(
        f'passages = "{kb}/passages.jsonl"\n[evaluate.all]\nquestions = "{kb}/questions.jsonl"\nks = [1]\n'
        f'[evaluate.judged]\nquestions = "{kb}/questions.jsonl"\nqrels = "judged.tsv"\nks = [1]\n'
    )
    (tmp_path / "judged.tsv").write_text("q1\trose\t1\n")
    sets = ask("evaluate", kb / "index", "--recipe", recipe)["sets"]
    assert {name: one["report"]["num_queries"] for name, one in sets.items()} == {  # type: ignore[attr-defined]
        "all": 3,
        "judged": 1,
    }


def test_wrong_input_is_one_line_and_exit_2(kb: Path, mistake: Callable[..., str], tmp_path: Path) -> None:
    index = kb / "index"
    assert "--text, --image or both" in mistake("search", index)
    assert "does not exist" in mistake("search", index, "--image", kb / "gone.png")
    assert "truncated" in mistake("search", index, "--image", kb / "cut.png")
    assert "--where is not JSON" in mistake("search", index, "--text", "x", "--where", "{year}")
    assert "--where must be a JSON object" in mistake("search", index, "--text", "x", "--where", "3")
    assert "not both" in mistake("search", index, "--text", "x", "--queries", kb / "questions.jsonl")
    assert "--queries as well" in mistake("search", index, "--text", "x", "--run", tmp_path / "r")
    assert "nowhere" in mistake("delete", index, "nowhere")
    assert "nowhere" in mistake("explain", index, "--text", "x", "--id", "nowhere")
    assert "-k takes whole numbers" in mistake("evaluate", index, "--queries", kb / "questions.jsonl", "-k", "5,x")
    assert "give --queries FILE, or --recipe" in mistake("evaluate", index)
    assert "has no metadata 'year'" in mistake("evaluate", index, "--queries", kb / "questions.jsonl", "--by", "year")
    assert str(tmp_path) in mistake("info", tmp_path)
    assert "nowhere" in mistake("info", tmp_path / "nowhere")


def test_wrong_passages_and_recipes_are_one_line_and_exit_2(
    kb: Path,
    mistake: Callable[..., str],
    tmp_path: Path,
    tiny_checkpoint: Path,  # noqa: F811
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


def test_usage_errors_are_one_line_and_exit_2(mistake: Callable[..., str]) -> None:
    assert "--nbit" in mistake("index", "x", "--nbit", "3")
    assert "flmr search --help" in mistake("search")
    assert "serch" in mistake("serch")


def test_default_encoder_out_of_reach_names_the_bundled_one(kb: Path, tmp_path: Path) -> None:
    done = run_flmr(
        ["index", str(kb / "passages.jsonl"), "--out", str(tmp_path / "i")],
        {"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "PreFLMR_ViT-L" in done.stderr and "--encoder bundled" in done.stderr


def test_another_encoder_is_refused(kb: Path, mistake: Callable[..., str], tmp_path: Path) -> None:
    from tiny_checkpoint import write_tiny_checkpoint

    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    assert "was brought" in mistake("search", kb / "index", "--text", "red", "--encoder", other)


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


def test_file_in_place_of_the_output_folder_is_one_line_and_exit_2(
    kb: Path,
    mistake: Callable[..., str],
    tmp_path: Path,
    tiny_checkpoint: Path,  # noqa: F811
) -> None:
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "i"
    assert "file" in mistake("index", kb / "passages.jsonl", "--out", out, "--encoder", tiny_checkpoint)


def test_full_disk_is_one_line_and_exit_2(
    kb: Path,
    mistake: Callable[..., str],
    tiny_checkpoint: Path,  # noqa: F811
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    line = mistake("explain", kb / "index", "--text", "red", "--out", "/dev/full")
    assert "No space left" in line


def test_disk_that_fills_while_indexing_is_one_line_and_leaves_no_index(
    kb: Path,
    tmp_path: Path,
    tiny_checkpoint: Path,  # noqa: F811
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


def test_unforeseen_failure_is_exit_1_and_says_how_to_see_more(
    kb: Path, mistake: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the unforeseen")

    monkeypatch.setattr(Index, "info", broken)
    assert "FLMR_DEBUG=1" in mistake("info", kb / "index", code=1)
    monkeypatch.setenv("FLMR_DEBUG", "1")
    assert flmr("info", kb / "index") == 1
    assert "in broken" in capsys.readouterr().err


def run_flmr(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flmr", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        check=False,
    )


def test_process_exit_codes_and_streams(kb: Path) -> None:
    done = run_flmr(["info", str(kb / "index"), "--json"])
    assert done.returncode == 0 and done.stderr == "" and json.loads(done.stdout)["items"] == 4
    done = run_flmr(["info", str(kb)])
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    done = run_flmr(["--version"])
    assert done.returncode == 0 and done.stdout.strip()


def test_help_is_instant_and_names_every_verb() -> None:
    done = run_flmr(["--help"])
    assert done.returncode == 0
    verbs = ("demo", "sample", "index", "add", "delete", "merge", "calibrate", "info", "verify", "search", "explain")
    assert all(f" {verb} " in done.stdout for verb in (*verbs, "evaluate", "train"))
    code = "import sys, flmr.cli; print(sorted(sys.modules.keys() & {'numpy', 'torch', 'pyarrow', 'PIL'}))"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert heavy.stdout.strip() == "[]", f"flmr.cli imports {heavy.stdout} at the top"


def test_closed_pipe_is_quiet(kb: Path) -> None:
    command = f"{sys.executable} -m flmr info {kb / 'index'} --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_interrupt_is_one_line_and_exit_130(tmp_path: Path) -> None:
    pipe = tmp_path / "p.jsonl"
    os.mkfifo(pipe)  # reading it waits for whoever writes, as a long build would
    process = subprocess.Popen(
        [sys.executable, "-m", "flmr", "evaluate", str(tmp_path), "--recipe", str(pipe)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # What a shell starts in the background ignores interrupts, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with pipe.open("w"):  # returns once it is being read
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (130, "", "flmr: interrupted\n")


def test_an_index_is_exported_and_imported_again(
    kb: Path,
    ask: Ask,
    tmp_path: Path,
    tiny_checkpoint: Path,  # noqa: F811
) -> None:
    wrote = ask("export", kb / "index", "--out", tmp_path / "kb.parquet")
    assert wrote["items"] == 4
    document = ask("import", tmp_path / "kb.parquet", "--out", tmp_path / "again", "--nbits", 0)
    assert (document["kind"], document["items"], document["nbits"], document["left_out"]) == ("parquet", 4, 0, 0)
    assert document["vectors"] == wrote["vectors"]
    with Index.open(tmp_path / "again") as again:
        assert again.passage("sky").text == TEXTS["sky"]  # type: ignore[union-attr]
    question = ("--text", "which flower is red")
    found = ask("search", tmp_path / "again", *question, "--encoder", tiny_checkpoint)["hits"]
    wanted = ask("search", kb / "index", *question)["hits"]
    assert [hit["id"] for hit in found] == [hit["id"] for hit in wanted]  # type: ignore[attr-defined]


def test_import_takes_ids_or_a_collection_and_names_what_it_cannot_read(
    ask: Ask, mistake: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "vectors.npy", np.eye(4, dtype=np.float32))
    np.save(folder / "offsets.npy", np.array([0, 1, 4]))
    (tmp_path / "ids.txt").write_text("one\ntwo\n")
    ask("import", folder, "--out", tmp_path / "named", "--ids", tmp_path / "ids.txt")
    with Index.open(tmp_path / "named") as index:
        assert index.ids() == ["one", "two"]
    (tmp_path / "collection.tsv").write_text("0\ta first\n1\ta second\n")
    ask("import", folder, "--out", tmp_path / "told", "--passages", tmp_path / "collection.tsv")
    with Index.open(tmp_path / "told") as index:
        assert index.passage("1").text == "a second"  # type: ignore[union-attr]
    assert "no index that can be imported" in mistake("import", tmp_path, "--out", tmp_path / "x")
    assert "exists already" in mistake("export", tmp_path / "told", "--out", folder)
