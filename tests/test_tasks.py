"""From a task's published files to its measures: on the command line, by a recipe, in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import flmr
from hash_encoder import HashEncoder
from task_files import write_m2kr, write_okvqa, write_text

from flmr.build import IndexRecipe, QuestionSet
from flmr.data import TaskSplit, find_task
from flmr.errors import InvalidInput, InvalidRecipe
from flmr.measure import Options, measure, question_sets
from flmr.recipe import load_recipe
from flmr.retriever import Retriever, build_from_recipe


@pytest.fixture
def m2kr(tmp_path: Path) -> Path:
    write_m2kr(tmp_path / "m2kr", "evqa", ["test"])
    return tmp_path / "m2kr"


def test_task_is_measured_by_strict_and_pseudo_recall_at_its_own_cutoffs(m2kr: Path, tmp_path: Path) -> None:
    source = TaskSplit(find_task("m2kr/evqa"), m2kr)
    with Retriever.build(source, tmp_path / "kb", HashEncoder(), nbits=8, progress=False) as retriever:
        measured = measure(retriever, "evqa", QuestionSet(task="m2kr/evqa", root=m2kr), Options())
    assert measured.report.value("strict_recall@1") == 1.0  # colour and number stand in the question
    assert measured.report.value("pseudo_recall@5") == 1.0  # " RED " is trimmed and lower-cased, "\t" never matches
    assert {row.measure for row in measured.report.rows} >= {"strict_recall@100", "pseudo_recall@1"}
    assert {key: measured.labels[key] for key in ("task", "split", "published_measure")} == {
        "task": "m2kr/evqa",
        "split": "test",
        "published_measure": "strict_recall@5",
    }
    assert measured.report.notes == ()


def test_unreadable_pictures_of_a_task_are_counted_as_misses(m2kr: Path, tmp_path: Path) -> None:
    (m2kr / "images/EVQA/test/red.png").unlink()
    (m2kr / "images/EVQA/test/blue.png").write_bytes(b"\x89PNG cut")
    source = TaskSplit(find_task("m2kr/evqa"), m2kr)
    with Retriever.build(source, tmp_path / "kb", HashEncoder(), nbits=8, progress=False) as retriever:
        measured = measure(retriever, "evqa", QuestionSet(task="m2kr/evqa", root=m2kr), Options())
    assert len(measured.unreadable) == 8 and measured.report.num_missing == 8
    assert measured.report.value("strict_recall@1") == 12 / 20


def test_folder_without_the_pictures_is_an_error_and_not_a_recall_of_zero(m2kr: Path, tmp_path: Path) -> None:
    asked = QuestionSet(task="m2kr/evqa", root=m2kr, images=tmp_path)
    source = TaskSplit(find_task("m2kr/evqa"), m2kr)
    with Retriever.build(source, tmp_path / "kb", HashEncoder(), nbits=8, progress=False) as retriever:
        with pytest.raises(InvalidInput, match=r"none of the 20 pictures can be read \(.*; --images says where"):
            measure(retriever, "evqa", asked, Options())
        assert measure(retriever, "evqa", asked, Options(drop_image=True)).report.num_missing == 0


def test_task_without_judgments_is_measured_by_pseudo_recall_and_says_so(tmp_path: Path) -> None:
    write_okvqa(tmp_path / "okvqa")
    recipe = IndexRecipe(task="okvqa", root=tmp_path / "okvqa", encoder="bundled")
    source = recipe.source
    assert isinstance(source, TaskSplit)
    with Retriever.build(source, tmp_path / "kb", HashEncoder(), nbits=8, progress=False) as retriever:
        (questions,) = recipe.question_sets.values()
        measured = measure(retriever, "okvqa", questions, Options(drop_image=True))
    assert measured.report.value("pseudo_recall@5") == 1.0 and measured.report.num_queries == 1
    assert measured.report.notes[-1] == "strict recall is not measured: no question has a positive passage"


def test_questions_of_a_file_are_asked_as_those_of_a_task(m2kr: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "q.jsonl", json.dumps({"id": "q", "text": "red 1", "positive_ids": ["P_red_1"]}))

    class Listening(HashEncoder):
        def encode_queries(self, queries):  # type: ignore[no-untyped-def]
            heard.extend(query.instruction for query in queries)
            return super().encode_queries(queries)

    heard: list[str] = []
    source = TaskSplit(find_task("m2kr/evqa"), m2kr)
    with Retriever.build(source, tmp_path / "kb", Listening(), nbits=8, progress=False) as retriever:
        (asked,) = question_sets(tmp_path / "q.jsonl", None, None, task="m2kr/iglue").values()
        measured = measure(retriever, "q", asked, Options())
    assert heard[0] in find_task("m2kr/iglue").instructions
    assert measured.report.value("strict_recall@1") == 1.0
    assert measured.report.notes[-1] == "pseudo recall is not measured: no question states an answer"


def test_recipe_of_a_task_builds_and_measures(m2kr: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "evqa.toml"
    write_text(recipe, f'task = "m2kr/evqa"\nroot = "{m2kr}"\nencoder = "bundled"\n')
    loaded = load_recipe(recipe, IndexRecipe)
    assert loaded.question_sets == {"m2kr/evqa": QuestionSet(task="m2kr/evqa", root=m2kr)}
    write_text(
        recipe, recipe.read_text() + '[evaluate.few]\ntask = "m2kr/evqa"\nks = [1]\nwhere = { gold_answer = "red" }\n'
    )
    (few,) = question_sets(None, None, recipe).values()
    assert few.root == m2kr and few.cutoffs == (1,)
    with build_from_recipe(load_recipe(recipe, IndexRecipe), tmp_path / "kb") as retriever:
        assert len(retriever.index) == 20
        assert measure(retriever, "few", few, Options()).report.num_queries == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('task = "m2kr/okvq"', "did you mean 'm2kr/okvqa'"),
        ('task = "okvqa"\npassages = "p.jsonl"', "one of the two"),
        ('task = "okvqa"\nsplit = "dev"', "no split 'dev'; it has train, test"),
        ('passages = "p.jsonl"\nsplit = "test"', "root and split belong to a task"),
        ('passages = "p.jsonl"\n[evaluate.x]\nks = [1]', "names the file of its questions, or a task"),
    ],
)
def test_wrong_recipe_of_a_task_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_text(tmp_path / "r.toml", text)
    with pytest.raises(InvalidRecipe, match=message):
        load_recipe(tmp_path / "r.toml", IndexRecipe)


def test_task_without_a_folder_asks_for_it() -> None:
    with pytest.raises(InvalidInput, match=r"'okvqa' needs the folder that holds its files; give root \(--data"):
        _ = QuestionSet(task="okvqa").source


def test_command_line_indexes_and_measures_a_task(
    m2kr: Path, tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kb = tmp_path / "kb"
    assert flmr("index", m2kr, "--task", "m2kr/evqa", "--out", kb, "--encoder", tiny_checkpoint) == 0
    capsys.readouterr()
    run = tmp_path / "run.trec"
    assert flmr("evaluate", kb, "--task", "m2kr/evqa", "--data", m2kr, "--run", run, "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["sets"].values()
    assert one["task"] == "m2kr/evqa" and one["published_measure"] == "strict_recall@5"
    assert len({line.split()[0] for line in run.read_text().splitlines()}) == 20
    assert flmr("evaluate", kb, "--task", "m2kr/evqa", "--data", m2kr) == 0
    assert "published with strict_recall@5, here 0." in " ".join(capsys.readouterr().out.split())


def test_wrong_options_of_a_task_are_one_line_and_exit_2(
    m2kr: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kb, questions = tmp_path / "kb", tmp_path / "q.jsonl"
    source = TaskSplit(find_task("m2kr/evqa"), m2kr)
    Retriever.build(source, kb, HashEncoder(), nbits=8, progress=False).close()

    def mistake(*arguments: object) -> str:
        assert flmr(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    out = ("--out", tmp_path / "new", "--encoder", "bundled")
    assert "did you mean 'm2kr/evqa'" in mistake("index", m2kr, "--task", "m2kr/evq", *out)
    assert "is a folder; name a file" in mistake("index", m2kr, *out)
    assert "no table 'OKVQA_passages/test_passages'" in mistake("index", m2kr, "--task", "m2kr/okvqa", *out)
    assert "no split 'dev'" in mistake("index", m2kr, "--task", "m2kr/evqa", "--split", "dev", *out)
    assert "name the task" in mistake("index", m2kr / "p.jsonl", "--split", "dev", *out)
    assert "names its task and split itself" in mistake("index", tmp_path / "r.toml", "--task", "okvqa", *out)
    assert "(--data on the command line)" in mistake("evaluate", kb, "--task", "m2kr/evqa")
    assert "leave them out beside" in mistake("evaluate", kb, "--queries", questions, "--data", m2kr)
    assert "leave them out beside" in mistake(
        "evaluate", kb, "--queries", questions, "--task", "okvqa", "--split", "test"
    )
    assert "not both" in mistake("evaluate", kb, "--recipe", tmp_path / "r.toml", "--task", "okvqa")
    assert "holds no table 'OKVQA_data/test'" in mistake("evaluate", kb, "--task", "m2kr/okvqa", "--data", m2kr)
