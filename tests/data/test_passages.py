"""Passages come out of every promised layout; a bad line is named, counted and skipped, or stops a strict read."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flmr.data import ReadReport, Skipped, read_passages
from flmr.data import rows as rows_module
from flmr.errors import InvalidRecord
from flmr.records import Passage

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*lines: Any, name: str = "passages.jsonl", end: str = "\n", start: bytes = b"") -> Path:
        texts = [line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() for line in lines]
        path = tmp_path / name
        path.write_bytes(start + end.encode().join(texts) + end.encode())
        return path

    return write


def test_all_columns_reach_the_record(write: Write, tmp_path: Path) -> None:
    path = write({"id": "a", "title": "T", "text": "x", "image": "img/a.png", "year": 2020, "tags": ["p", "q"]})
    image = tmp_path / "img" / "a.png"
    assert list(read_passages(path)) == [Passage("a", "x", "T", image, {"year": 2020, "tags": ["p", "q"]})]


@pytest.mark.parametrize("id_name", ["id", "_id", "passage_id"])
@pytest.mark.parametrize("text_name", ["text", "passage_content"])
def test_every_alias_is_understood(write: Write, id_name: str, text_name: str) -> None:
    assert list(read_passages(write({id_name: "a", text_name: "words"}))) == [Passage("a", "words")]


def test_of_two_names_the_first_listed_counts_and_the_other_is_metadata(write: Write) -> None:
    (passage,) = read_passages(write({"passage_id": "p", "id": "a", "passage_content": "c", "text": "t"}))
    assert passage == Passage("a", "t", meta={"passage_id": "p", "passage_content": "c"})


def test_whole_numbers_are_ids_by_their_digits(write: Write) -> None:
    assert [p.id for p in read_passages(write({"id": 7, "text": ""}, {"id": "007", "text": ""}))] == ["7", "007"]


def test_nested_metadata_of_beir_flows_into_the_metadata(write: Write) -> None:
    path = write({"_id": "a", "title": "", "text": "x", "metadata": {"source": "npl", "n": 1}, "lang": "en"})
    assert next(read_passages(path)).meta == {"lang": "en", "source": "npl", "n": 1}


def test_metadata_that_is_no_object_stays_as_it_is(write: Write) -> None:
    assert next(read_passages(write({"id": "a", "text": "x", "meta": "m"}))).meta == {"meta": "m"}


def test_null_title_text_and_image_are_absent(write: Write) -> None:
    assert list(read_passages(write({"id": "a", "title": None, "text": None, "image": None}))) == [Passage("a")]


def test_a_passage_may_have_an_image_alone(write: Write, tmp_path: Path) -> None:
    assert next(read_passages(write({"id": "a", "image": "a.png"}))).image == tmp_path / "a.png"


def test_absolute_paths_and_urls_are_kept(write: Write) -> None:
    path = write({"id": "a", "image": "/data/a.png"}, {"id": "b", "image": "https://example.org/b.png"})
    assert [p.image for p in read_passages(path)] == [Path("/data/a.png"), "https://example.org/b.png"]


def test_the_image_folder_is_a_choice(write: Write) -> None:
    path = write({"id": "a", "image": "a.png"})
    assert next(read_passages(path, image_folder="/pictures")).image == Path("/pictures/a.png")


def test_bom_crlf_and_blank_lines_are_no_trouble(write: Write) -> None:
    report = ReadReport()
    path = write({"id": "a", "text": "ä"}, b"", b"  \t", {"id": "b", "text": ""}, end="\r\n", start=b"\xef\xbb\xbf")
    assert [p.id for p in read_passages(path, report=report)] == ["a", "b"]
    assert report == ReadReport(read=2)


def test_a_unicode_line_separator_does_not_end_a_line(write: Write) -> None:
    assert next(read_passages(write({"id": "a", "text": "one\u2028two\x85"}))).text == "one\u2028two\x85"


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "passages.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a", "text": "x"}\n'))
    assert list(read_passages(path)) == [Passage("a", "x")]
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InvalidRecord, match="not a whole gzip file"):
        list(read_passages(path))
    path.write_bytes(b"plain text")
    with pytest.raises(InvalidRecord, match="not a whole gzip file"):
        list(read_passages(path))


BAD_LINES = [
    (b"{", "not JSON: Expecting property name"),
    (b'{"id": "z", "text": "x"} trailing', "not JSON: Extra data"),
    (b'"text"', "a JSON string, not an object"),
    (b"[1]", "a JSON array, not an object"),
    (b"null", "a JSON null, not an object"),
    (b"true", "a JSON boolean, not an object"),
    (b"12", "a JSON number, not an object"),
    (b'{"id": "z", "text": "\xff"}', "not UTF-8 \\(byte 22 of the line\\)"),
    (b'{"id": "z", "text": "\\ud800"}', "half of a surrogate pair"),
    (b'{"id": "z", "text": "x", "score": NaN}', "NaN is not JSON; write null"),
    (b'{"id": "z", "text": "x", "score": -Infinity}', "-Infinity is not JSON"),
    (b'{"id": "z", "text": "x", "n": ' + b"9" * 5000 + b"}", "not usable JSON"),
    (b"[" * 100_000, "too many nested brackets"),
    (b'{"text": "x"}', "no id; give one of the keys id, _id or passage_id"),
    (b'{"id": null, "text": "x"}', "an id must be a string or a whole number, not None"),
    (b'{"id": 1.5, "text": "x"}', "a whole number, not 1.5"),
    (b'{"id": true, "text": "x"}', "a whole number, not True"),
    (b'{"id": "", "text": "x"}', "an id must not be empty"),
    (b'{"id": "  ", "text": "x"}', "an id must not be empty"),
    (b'{"id": ["z"], "text": "x"}', "a whole number, not \\['z'\\]"),
    (b'{"id": "z", "body": "x"}', "neither text nor image"),
    (b'{"id": "z", "text": 5}', "text must be a string, not 5"),
    (b'{"id": "z", "text": "x", "title": ["t"]}', "title must be a string"),
    (b'{"id": "z", "text": "x", "image": ["a.png"]}', "image must be a path"),
    (b'{"id": "z", "text": "x", "image": 3}', "image must be a path"),
    (b'{"id": "z", "text": "x", "a": 1, "metadata": {"a": 2}}', "key 'a' has one value in 'metadata' and another"),
    (b'{"id": "a", "text": "x"}', "id 'a' stands on line 1 already"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_line_is_skipped_with_its_number_and_reason(write: Write, line: bytes, reason: str) -> None:
    path = write({"id": "a", "text": "x"}, b"", line, {"id": "b", "text": "y"})
    report = ReadReport()
    assert [p.id for p in read_passages(path, report=report)] == ["a", "b"]
    assert (report.read, [s.line for s in report.skipped]) == (2, [3])
    assert re.search(reason, report.skipped[0].reason)
    with pytest.raises(InvalidRecord, match=f"line 3: .*{reason}"):
        list(read_passages(path, strict=True))


def test_records_before_a_bad_line_come_out_of_a_strict_read(write: Write) -> None:
    passages = read_passages(write({"id": "a", "text": "x"}, b"{"), strict=True)
    assert next(passages).id == "a"
    with pytest.raises(InvalidRecord, match=r"passages\.jsonl', line 2: not JSON"):
        next(passages)


def test_without_a_report_skipped_lines_are_logged_once(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write({"id": "a", "text": "x"}, b"{", b"{")
    with caplog.at_level(logging.WARNING):
        assert len(list(read_passages(path))) == 1
    (record,) = caplog.records
    assert "1 read, 2 skipped (line 2: not JSON" in record.getMessage()
    caplog.clear()
    list(read_passages(path, report=ReadReport()))
    assert not caplog.records


def test_a_file_of_bad_lines_alone_is_an_error(write: Write) -> None:
    with pytest.raises(InvalidRecord, match=r"holds no passages: none of 2 could be read \(line 1: not JSON"):
        list(read_passages(write(b"id,text", b"a,x")))


def test_an_empty_file_has_no_passages(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    assert list(read_passages(path)) == []


@pytest.mark.parametrize(
    "text", [b'[{"id": "a", "text": "x"}]', b'[\n{"id": "a", "text": "x"},\n{"id": "b", "text": "y"}\n]']
)
@pytest.mark.parametrize("name", ["p.json", "p.jsonl"])
def test_a_json_array_is_refused(tmp_path: Path, text: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(InvalidRecord, match="holds a JSON array; write one object a line"):
        list(read_passages(tmp_path / name))


def test_utf_16_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes('{"id": "a"}'.encode("utf-16"))
    with pytest.raises(InvalidRecord, match="is UTF-16; save it as UTF-8"):
        list(read_passages(path))


def test_an_endless_line_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MAX_LINE_BYTES", 100)
    with pytest.raises(InvalidRecord, match="line 2 is longer than 64 MiB"):
        list(read_passages(write({"id": "a", "text": "x"}, {"id": "b", "text": "x" * 200})))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_collection_between_tabs_has_ids_texts_and_perhaps_titles(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "collection.tsv"
    path.write_bytes(end.join([b'0\tan "open quote', b"1\t", "2\tnaïve".encode(), b""]))
    assert list(read_passages(path)) == [Passage("0", 'an "open quote'), Passage("1", ""), Passage("2", "naïve")]
    path.write_bytes(end.join([b"0\ttext\ttitle", b"1\tlonely", b""]))
    report = ReadReport()
    assert list(read_passages(path, report=report)) == [Passage("0", "text", "title")]
    assert [str(skipped) for skipped in report.skipped] == ["row 2: 2 fields where 3 are expected (id, text, title)"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("p.csv", "is CSV; passages are read from .jsonl, .ndjson, .parquet: convert it first"),
        ("p.xml", "is XML"),
        ("p.txt", "has the unknown ending '.txt'"),
        ("p", "has the unknown ending ''"),
        ("nothing.jsonl", "does not exist; check the path"),
        ("folder.jsonl", "is not a file; name the file itself"),
        ("folder", r"is a folder; passages are read from .*: name a file in it"),
    ],
)
def test_another_file_is_refused_at_once(tmp_path: Path, name: str, said: str) -> None:
    if name.startswith("p"):
        (tmp_path / name).write_text("id,text\n")
    for folder in ("folder.jsonl", "folder"):
        (tmp_path / folder).mkdir()
    with pytest.raises(InvalidRecord, match=said):
        read_passages(tmp_path / name)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord, match="cannot be read"):
        read_passages(tmp_path / ("x" * 300 + ".jsonl"))


def test_the_file_is_read_as_a_stream(write: Write) -> None:
    passages = read_passages(write({"id": "a", "text": "x"}, b"{"), strict=True)
    assert next(passages).id == "a"
    passages.close()


def parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, **options), path)
    return path


def test_parquet_gives_the_same_records_as_jsonl(write: Write, tmp_path: Path) -> None:
    rows = [{"passage_id": f"p{i}", "passage_content": f"text {i}", "year": i, "tags": ["a"]} for i in range(2500)]
    from_parquet = list(read_passages(parquet(tmp_path / "p.parquet", rows)))
    assert from_parquet == list(read_passages(write(*rows)))


def test_parquet_rows_are_counted_from_one(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "p.parquet", [{"id": "a", "text": "x"}, {"id": None, "text": "y"}, {"id": "a", "text": "z"}]
    )
    report = ReadReport()
    assert [p.id for p in read_passages(path, report=report)] == ["a"]
    assert report.skipped == [
        Skipped(2, "an id must be a string or a whole number, not None", "row"),
        Skipped(3, "id 'a' stands on row 1 already", "row"),
    ]
    with pytest.raises(InvalidRecord, match="row 2: "):
        list(read_passages(path, strict=True))


def test_parquet_types_become_what_json_can_say(tmp_path: Path) -> None:
    row = {"day": datetime.date(2026, 1, 2), "price": decimal.Decimal("1.5"), "gap": float("nan"), "in": {"at": [1]}}
    (passage,) = read_passages(parquet(tmp_path / "p.parquet", [{"id": 1, "text": "x", **row, "__index_level_0__": 4}]))
    assert passage == Passage("1", "x", meta={"day": "2026-01-02", "price": 1.5, "gap": None, "in": {"at": [1]}})
    json.dumps(dict(passage.meta), allow_nan=False)


def test_parquet_images_may_be_paths_bytes_or_structs(tmp_path: Path) -> None:
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("id", pa.string()), ("image", struct)])
    rows = [
        {"id": "a", "image": {"bytes": b"PNG", "path": "a.png"}},
        {"id": "b", "image": {"bytes": None, "path": "b.png"}},
        {"id": "c", "image": None},
    ]
    path = parquet(tmp_path / "p.parquet", rows, schema=schema)
    assert [p.image for p in read_passages(path)] == [b"PNG", tmp_path / "b.png", None]
    path = parquet(tmp_path / "q.pq", [{"id": "a", "image": b"PNG"}])
    assert next(read_passages(path)).image == b"PNG"


def test_bytes_in_parquet_metadata_are_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "p.parquet", [{"id": "a", "text": "x", "blob": b"1"}])
    with pytest.raises(InvalidRecord, match="metadata 'blob' is of type bytes"):
        list(read_passages(path))


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "p.parquet", [{"id": "a", "text": "x"}])
    for data in (path.read_bytes()[:-8], b"", b"not parquet at all"):
        path.write_bytes(data)
        with pytest.raises(InvalidRecord, match="is not a whole Parquet file"):
            list(read_passages(path))


NAMED = {"id", "_id", "passage_id", "text", "passage_content", "title", "image", "img_path", "meta", "metadata"}
text = st.text(max_size=6)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | st.booleans() | numbers | text
metas = st.dictionaries(text.filter(lambda key: key not in NAMED), values | st.lists(values, max_size=2), max_size=2)


@given(st.lists(st.tuples(text.filter(str.strip), text, text, metas), max_size=3, unique_by=lambda row: row[0]))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, fields: list[Any]) -> None:
    rows = [{"id": id, "text": text, "title": title, **meta} for id, text, title, meta in fields]
    path = tmp_path_factory.mktemp("round") / "p.jsonl"
    for ascii_only in (False, True):
        path.write_text("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows), "utf-8", newline="\n")
        found = [{"id": p.id, "text": p.text, "title": p.title, **p.meta} for p in read_passages(path, strict=True)]
        assert found == rows


def test_the_public_passages_and_the_beir_corpus_are_read_whole(shared: Path) -> None:
    report = ReadReport()
    passages = list(read_passages(shared / "data/public_kb/passages.jsonl", strict=True, report=report))
    assert (report.read, len(passages), set(passages[0].meta)) == (1476, 1476, {"entity", "kind"})
    sources = {
        p.meta["source"] for p in read_passages(shared / "data/text_ir/corpus.jsonl", strict=True, report=report)
    }
    assert sources == {"squad", "cranfield", "cisi", "npl"}
    assert report == ReadReport(read=1476 + 16_351)
