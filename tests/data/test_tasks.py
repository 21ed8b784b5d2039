"""Every task is read from files in its published layout; what is wrong with a folder is said in one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from json_lines import write_jsonl
from task_files import (
    M2KR_SUBSETS,
    write_evqa,
    write_infoseek,
    write_kvqa,
    write_m2kr,
    write_msmarco,
    write_okvqa,
    write_oven,
    write_parquet,
    write_text,
    write_wit,
)

from flmr.data import TASKS, ReadReport, TaskSplit, find_task, read_passages, read_questions
from flmr.data.tables import find_files
from flmr.errors import InvalidInput, InvalidRecord
from flmr.images import load_image
from flmr.records import Passage, Question

WRITERS: dict[str, Callable[[Path], None]] = {
    "okvqa": write_okvqa,
    "infoseek": write_infoseek,
    "oven": write_oven,
    "evqa": write_evqa,
    "kvqa": write_kvqa,
    "wit": write_wit,
    "msmarco": write_msmarco,
}


def questions_of(folder: Path, task: str, split: str = "", **how: Any) -> list[Question]:
    return list(read_questions(TaskSplit(find_task(task), folder, split), strict=True, **how))


def passages_of(folder: Path, task: str, split: str = "", **how: Any) -> list[Passage]:
    return list(read_passages(TaskSplit(find_task(task), folder, split), strict=True, **how))


# --- the table of tasks -----------------------------------------------------------------------------------------------


def test_tasks_are_measured_as_they_are_published() -> None:
    published = {
        "m2kr/wit": "strict_recall@10",
        "m2kr/iglue": "strict_recall@1",
        "m2kr/kvqa": "strict_recall@5",
        "m2kr/msmarco": "strict_recall@5",
        "m2kr/oven": "strict_recall@5",
        "m2kr/llava": "strict_recall@1",
        "m2kr/evqa": "strict_recall@5",
        "m2kr/okvqa": "strict_recall@5",
        "m2kr/infoseek": "strict_recall@5",
        "okvqa": "pseudo_recall@5",
    }
    assert {name: TASKS[name].measure for name in published} == published
    assert {name for name in TASKS if name.startswith("m2kr/")} == {f"m2kr/{name}" for name in M2KR_SUBSETS}
    assert all(int(task.measure.partition("@")[2]) in task.ks for task in TASKS.values())


def test_instructions_leave_room_for_the_question() -> None:
    texts = {text for task in TASKS.values() for text in task.instructions}
    assert all(len(text.split()) <= 16 and ":" not in text for text in texts), texts


@pytest.mark.parametrize(("name", "near"), [("m2kr/okvq", "m2kr/okvqa"), ("OKVQA", "okvqa"), ("E-VQA", "evqa")])
def test_unknown_task_is_answered_with_the_nearest_name(name: str, near: str) -> None:
    with pytest.raises(InvalidInput, match=f"task '{name}' is not known; did you mean '{near}'"):
        find_task(name)


def test_unknown_split_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"task 'm2kr/iglue' has no split 'dev'; it has test"):
        TaskSplit(find_task("m2kr/iglue"), tmp_path, "dev")
    with pytest.raises(InvalidInput, match="no split 'valid' of questions; it has test"):
        read_questions(TaskSplit(find_task("m2kr/iglue"), tmp_path, "valid"))
    assert TaskSplit(find_task("msmarco"), tmp_path).split == "valid"


# --- M2KR -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", M2KR_SUBSETS)
def test_every_m2kr_subset_is_read_in_every_published_split(tmp_path: Path, name: str) -> None:
    task = find_task(f"m2kr/{name}")
    write_m2kr(tmp_path, name)
    for split in task.splits:
        questions = questions_of(tmp_path, task.name, split)
        passages = {passage.id: passage.text for passage in passages_of(tmp_path, task.name, split)}
        assert len(questions) == len(passages) == 20
        for question in questions:
            assert question.meta.keys() & {"pos_item_contents"} == set()
            (positive,) = question.positive_ids
            assert passages[positive].split()[0] in question.id
            if name != "msmarco":
                assert load_image(question.query.image).size == (8, 8)


def test_a_folder_may_be_a_string(tmp_path: Path) -> None:
    of_path = TaskSplit(find_task("m2kr/okvqa"), tmp_path, "test", tmp_path / "images")
    assert TaskSplit(find_task("m2kr/okvqa"), str(tmp_path), "test", str(tmp_path / "images")) == of_path  # type: ignore[arg-type]


def test_pictures_are_looked_for_where_the_task_keeps_them(tmp_path: Path) -> None:
    source = TaskSplit(find_task("m2kr/iglue"), tmp_path)
    assert source.image_folder == tmp_path
    (tmp_path / "images/WIT").mkdir(parents=True)
    assert TaskSplit(find_task("m2kr/iglue"), tmp_path).image_folder == tmp_path / "images/WIT"
    assert TaskSplit(find_task("m2kr/oven"), tmp_path).image_folder == tmp_path / "images"
    assert TaskSplit(find_task("m2kr/oven"), tmp_path, images=tmp_path / "x").image_folder == tmp_path / "x"


def test_instruction_of_the_data_counts_and_one_of_ours_fills_the_gap(tmp_path: Path) -> None:
    write_m2kr(tmp_path, "evqa")
    asked = {question.id: question.query.instruction for question in questions_of(tmp_path, "m2kr/evqa", "test")}
    assert asked["EVQA_test_red_1"] == "Published words:"
    ours = find_task("m2kr/evqa").instructions
    assert {asked[f"EVQA_test_{colour}_0"] for colour in ("red", "green", "blue")} <= set(ours)
    again = {question.id: question.query.instruction for question in questions_of(tmp_path, "m2kr/evqa", "test")}
    assert again == asked


def test_parts_of_a_table_are_read_in_order_and_ids_checked_across_them(tmp_path: Path) -> None:
    write_m2kr(tmp_path, "okvqa", ["test"], parts=3)
    assert len(questions_of(tmp_path, "m2kr/okvqa")) == 20
    write_parquet(
        tmp_path / "OKVQA_passages/test_passages-00003-of-00003.parquet", [PASSAGE, PASSAGE | {"passage_id": "n"}]
    )
    report = ReadReport()
    read = list(read_passages(TaskSplit(find_task("m2kr/okvqa"), tmp_path), report=report))
    assert len(read) == 21
    (skipped,) = map(str, report.skipped)
    assert skipped.startswith("test_passages-00003-of-00003.parquet, row 1: id 'P_red_0' stands on row 1 of")


PASSAGE = {"language": "en", "passage_id": "P_red_0", "passage_content": "again"}


def test_a_table_may_be_a_folder_or_another_known_type(tmp_path: Path) -> None:
    write_parquet(tmp_path / "OKVQA_passages/test_passages/0000.parquet", [PASSAGE])
    assert [p.id for p in passages_of(tmp_path, "m2kr/okvqa")] == ["P_red_0"]
    write_jsonl(tmp_path / "m2kr/KVQA_passages/test_passages.jsonl", [PASSAGE])  # in a folder of the folder
    assert [p.text for p in passages_of(tmp_path, "m2kr/kvqa")] == ["again"]
    write_text(tmp_path / "WIT_passages/test_passages.csv", "passage_id,passage_content\nw,words\n")
    assert [p.text for p in passages_of(tmp_path, "m2kr/wit")] == ["words"]


# --- the data sets' own layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_every_positive_is_a_passage_of_its_split(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    task = find_task(name)
    report = ReadReport()
    for split in task.splits:
        source = TaskSplit(task, tmp_path, split)
        ids = {passage.id for passage in read_passages(source, report=report)}
        questions = list(read_questions(source, report=report))
        assert ids and questions
        assert {positive for question in questions for positive in question.positive_ids} <= ids
        assert all(question.query.instruction in task.instructions for question in questions)
    assert len(report.skipped) == (6 if name == "wit" else 0)  # the gallery without a text, in three splits, twice


def test_okvqa_joins_questions_with_the_annotators_answers(tmp_path: Path) -> None:
    write_okvqa(tmp_path)
    (question,) = questions_of(tmp_path, "okvqa", "test")
    assert question.id == "425" and question.query.text == "Which metal is it made of?"
    assert question.answers == ("copper", "brass") and question.positive_ids == ()
    assert question.query.image == tmp_path / "val2014/COCO_val2014_000000000042.jpg"
    assert [p.text for p in passages_of(tmp_path, "okvqa", "train")] == ["copper, said\nto be red"]
    assert [p.text for p in passages_of(tmp_path, "okvqa", "test")] == ["copper, said\nto be red", 'a "brass" bell']


def test_infoseek_joins_questions_with_articles_and_finds_packed_pictures(tmp_path: Path) -> None:
    write_infoseek(tmp_path)
    (question,) = questions_of(tmp_path, "infoseek")
    assert question.positive_ids == ("Q1",) and question.answers == ("1 m", "1 metre")
    assert load_image(question.query.image).size == (8, 8)
    heron, newt = passages_of(tmp_path, "infoseek")
    assert newt.full_text == "Newt An amphibian."
    assert heron.id == "Q1" and 1900 < len(heron.text) <= 2000 and heron.text.endswith("bird. A")


def test_oven_reads_entity_and_query_questions(tmp_path: Path) -> None:
    write_oven(tmp_path)
    questions = questions_of(tmp_path, "oven")
    assert [q.id for q in questions] == ["oven_entity_val_00000000", "oven_query_val_00000000"]
    assert questions[0].positive_ids == ("Q2",) and questions[0].answers == ("Newt",)
    assert load_image(questions[0].query.image).size == (8, 8)


def test_evqa_asks_once_a_picture_and_knows_the_section_of_the_evidence(tmp_path: Path) -> None:
    write_evqa(tmp_path)
    first, second, hop = questions_of(tmp_path, "evqa", "test")
    assert (first.id, second.id, hop.id) == ("test-1-17", "test-1-18", "test-2-abcdef")
    assert first.positive_ids == second.positive_ids == ("https://en.wikipedia.org/wiki/Fern#1",)
    assert first.answers == ("2 m", "two metres") and hop.answers == ("Anna", "Ben")
    assert hop.positive_ids == ("https://en.wikipedia.org/wiki/Fern#0",)  # the second hop has no section
    assert second.query.image == tmp_path / "inat/18.jpg"
    assert hop.query.image == tmp_path / "google-landmark/train/a/b/c/abcdef.jpg"
    assert first.meta["question_type"] == "templated"
    passages = {p.id.rpartition("/")[2]: p.full_text for p in passages_of(tmp_path, "evqa")}
    assert passages == {
        "Fern#0": "Fern A plant.",
        "Fern#1": "Fern Size: It is 2 m tall.",
        "Moss#0": "Moss A small plant.",
    }


def test_kvqa_takes_the_first_of_the_five_splits(tmp_path: Path) -> None:
    write_kvqa(tmp_path)
    questions = questions_of(tmp_path, "kvqa", "train")
    assert [(q.id, q.answers, q.positive_ids) for q in questions] == [
        ("100_0", ("Ada",), ("100",)),
        ("100_1", ("1",), ("100",)),
    ]
    assert questions[0].query.image == tmp_path / "KVQAimgs/100.jpg"
    assert [p.text for p in passages_of(tmp_path, "kvqa", "train")] == ["Ada in picture 100"]


def test_wit_takes_english_sections_once(tmp_path: Path) -> None:
    write_wit(tmp_path)
    report = ReadReport()
    source = TaskSplit(find_task("wit"), tmp_path, "test")
    page = "https://en.wikipedia.org/wiki/Arch"
    assert [(p.id, p.text) for p in read_passages(source, report=report)] == [
        (f"{page}#Roman_arches", "Round."),
        (f"{page}#", "Curved."),
    ]
    assert [s.reason for s in report.skipped] == [
        "neither context_section_description nor context_page_description holds a text"
    ]
    questions = list(read_questions(source, report=ReadReport()))
    assert [q.id.rpartition("@")[2] for q in questions] == ["Arch_1.jpg", "Arch_2.jpg", "Arch_3.jpg"]
    assert questions[0].query.image == tmp_path / "Arch_1.jpg" and questions[0].query.text == ""


def test_msmarco_joins_questions_with_judgments_and_takes_quotes_as_they_are(tmp_path: Path) -> None:
    write_msmarco(tmp_path)
    judged, unjudged = questions_of(tmp_path, "msmarco", "train")
    assert judged.positive_ids == ("0",) and unjudged.positive_ids == ()
    assert [p.text for p in passages_of(tmp_path, "msmarco")] == ['A "quoted passage', "Another one"]


# --- what can be wrong ------------------------------------------------------------------------------------------------


def test_missing_column_names_column_file_and_what_is_there(tmp_path: Path) -> None:
    write_parquet(tmp_path / "OKVQA_data/test-00000-of-00001.parquet", [{"question_id": "q", "img_path": "a.png"}])
    with pytest.raises(InvalidRecord) as error:
        questions_of(tmp_path, "m2kr/okvqa")
    assert str(error.value) == (
        f"'{tmp_path}/OKVQA_data/test-00000-of-00001.parquet' has no column 'question' or 'pos_item_ids' or 'answers';"
        " it has 'question_id', 'img_path'"
    )
    write_text(tmp_path / "collection.csv", "id,text\n1,x\n")
    write_text(tmp_path / "okvqa_full_corpus.csv", "kid,content\n1,x\n")
    with pytest.raises(InvalidRecord, match=r"okvqa_full_corpus.csv' has no column 'text'; it has 'kid', 'content'"):
        passages_of(tmp_path, "okvqa")
    write_jsonl(tmp_path / "Wiki6M_ver_1_0.jsonl", [{"wikidata_id": "Q1"}])
    with pytest.raises(
        InvalidRecord, match=r"no column 'wikipedia_title' or 'wikipedia_content'; it has 'wikidata_id'"
    ):
        passages_of(tmp_path, "oven")


def test_missing_table_names_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    write_msmarco(tmp_path)
    (tmp_path / "collection.tsv").unlink()
    with pytest.raises(InvalidRecord, match=r"holds no table 'collection' \(.parquet, .*it has qrels.dev.small.tsv"):
        passages_of(tmp_path, "msmarco")
    with pytest.raises(InvalidRecord, match="is not a folder; name the one that holds 'collection'"):
        passages_of(tmp_path / "none", "msmarco")


def test_table_of_two_types_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "collection.tsv", "")
    write_text(tmp_path / "collection.csv", "")
    with pytest.raises(InvalidRecord, match=r"'collection' as .csv and .tsv; keep one of them there"):
        find_files(tmp_path, "collection")


def test_value_of_a_wrong_type_is_skipped_and_counted_or_stops(tmp_path: Path) -> None:
    write_kvqa(tmp_path)
    document = json.loads((tmp_path / "dataset.json").read_text())
    document["100"]["Questions"] = "Who?"
    document["150"] = {**document["100"], "Questions": ["Who?"], "Answers": ["Ada"]}
    write_text(tmp_path / "dataset.json", json.dumps(document))
    report = ReadReport()
    source = TaskSplit(find_task("kvqa"), tmp_path, "train")
    assert [q.id for q in read_questions(source, report=report)] == ["150_0"]
    assert str(report) == "1 read, 1 skipped (dataset.json, row 1: Questions must be a list, not 'Who?')"
    with pytest.raises(InvalidRecord, match=r"dataset.json', row 1: Questions must be a list"):
        questions_of(tmp_path, "kvqa", "train")


def test_column_of_a_wrong_type_is_one_clear_line(tmp_path: Path) -> None:
    row = {"question_id": "q", "question": "?", "img_path": "a.png", "pos_item_ids": [{"a": 1}], "answers": ["x"]}
    write_parquet(tmp_path / "OKVQA_data/test.parquet", [row])
    with pytest.raises(InvalidRecord, match=r"none of 1 could be read \(test.parquet, row 1: an id must be a string"):
        list(read_questions(TaskSplit(find_task("m2kr/okvqa"), tmp_path), report=ReadReport()))
    write_parquet(tmp_path / "OKVQA_data/test.parquet", [{**row, "pos_item_ids": ["p"], "question": 7}])
    with pytest.raises(InvalidRecord, match="row 1: question must be a string, not 7"):
        questions_of(tmp_path, "m2kr/okvqa")


def test_rows_with_too_few_fields_or_broken_letters_are_skipped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_bytes(b"0\tgood\n1\n\n2\tbad \xff\n3\tlast\t\n4\tfine\n")
    report = ReadReport()
    source = TaskSplit(find_task("msmarco"), tmp_path)
    assert [p.id for p in read_passages(source, report=report)] == ["0", "4"]
    assert [s.reason for s in report.skipped] == [
        "1 fields where 2 are expected (pid, passage)",
        "not UTF-8",
        "3 fields where 2 are expected (pid, passage)",
    ]


def test_file_in_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    write_text(tmp_path / "collection.tsv", "0\n1\n")
    with pytest.raises(InvalidRecord, match="holds no passages: none of 2 could be read"):
        list(read_passages(TaskSplit(find_task("msmarco"), tmp_path), report=ReadReport()))


CAPTIONED = '{"wikiCap": "Ada", "split": [2]}'


@pytest.mark.parametrize("text", ["", "[]", "{", '{"1": ' + CAPTIONED, '{"1" 2}', '{"1": ' + CAPTIONED + " 2}"])
def test_damaged_json_document_is_refused(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "dataset.json", text)
    with pytest.raises(InvalidRecord, match="is not a JSON object"):
        passages_of(tmp_path, "kvqa", "train")


def test_json_document_that_is_another_file_is_refused(tmp_path: Path) -> None:
    write_okvqa(tmp_path)
    write_text(tmp_path / "mscoco_val2014_annotations.json", '{"images": []}')
    with pytest.raises(InvalidRecord, match="holds nothing under the key 'annotations'; is it the right file"):
        questions_of(tmp_path, "okvqa", "test")
    write_text(tmp_path / "dataset.json", '{"info": "KVQA"}')
    with pytest.raises(InvalidRecord, match="row 1 is no JSON object"):
        passages_of(tmp_path, "kvqa", "train")


def test_large_json_document_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_evqa(tmp_path)
    whole = passages_of(tmp_path, "evqa")
    for size in (1, 7, 100):  # every value, and every number, is cut somewhere
        monkeypatch.setattr("flmr.data.tables.JSON_CHUNK", size)
        assert passages_of(tmp_path, "evqa") == whole
    text = (tmp_path / "encyclopedic_kb_wiki.json").read_text()
    (tmp_path / "encyclopedic_kb_wiki.json").unlink()
    with gzip.open(tmp_path / "encyclopedic_kb_wiki.json.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    assert passages_of(tmp_path, "evqa") == whole
