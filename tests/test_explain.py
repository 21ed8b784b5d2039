"""The page that explains a hit: complete, self-contained, safe, and true to the score."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hash_encoder import HashEncoder
from PIL import Image

from flmr.errors import StorageError, UnreadableImage
from flmr.explain import explanation_document, page, score_parts, write_page
from flmr.records import Explanation, Hit, Passage, Query, Row


def explanation(query: Query, passage: Passage) -> Explanation:
    encoder = HashEncoder(encodes_images=False)
    query_text, query_rows, query_QD = encoder.explain_query(query)
    text, rows, passage_TD = encoder.explain_passage(passage)
    similarities = query_QD @ passage_TD.T
    score = float(similarities.max(1).sum())
    return Explanation(query, Hit(passage.id, score, 1, passage), query_text, text, query_rows, rows, similarities)


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (40, 30), (255, 0, 0)).save(path)
    return path


def body(html: str) -> str:
    """The passage's text as the page shows it."""
    parts = re.findall(r"<div class='body' dir='auto'>(.*?)</div>", html, re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", "", parts[1]))


def test_parts_sum_to_the_score_and_come_by_kind(red: Path) -> None:
    one = explanation(Query("which colour", image=red), Passage("p", "the colour red"))
    parts = score_parts(one)
    assert [(part.kind, part.rows) for part in parts] == [("text", 3), ("image", 1), ("region", 4)]
    assert sum(part.score for part in parts) == pytest.approx(one.hit.score, abs=1e-5)


def test_page_is_one_well_formed_file_that_fetches_nothing(red: Path) -> None:
    html = page(explanation(Query("which colour", image=red), Passage("p", "the colour red", image=red)))
    assert not re.search(r"(?:src|href)=['\"](?!data:)|url\((?!#)|@import|https?:", html)
    assert html.count("data:image/png;base64,") == 2
    open_tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in {"meta", "img", "input"}:
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

    parser = Balance()
    parser.feed(html)
    parser.close()
    assert open_tags == []


def test_page_shows_every_row_of_the_question(red: Path) -> None:
    html = page(explanation(Query("which colour", image=red), Passage("p", "the colour red")))
    rows = set(re.findall(r"<tr class='\w+' data-row='(q\d+)'", html))
    assert rows == {f"q{i}" for i in range(8)}
    assert len(re.findall(r"<rect data-heat='q\d+'", html)) == 4


def test_text_of_question_and_passage_is_escaped() -> None:
    evil = "<script>alert('x')</script> & \"more\""
    html = page(explanation(Query(evil), Passage("<b>id</b>", evil, title="</title><script>")))
    assert "<script>alert" not in html
    assert "&lt;" in html and "<b>id</b>" not in html and "</title><script>" not in html.replace("</title><style", "")


def test_marked_text_keeps_every_character() -> None:
    text = "  A knot: 3_1 — héros,\nnew line & <tag>  "
    html = page(explanation(Query("knot"), Passage("p", text)))
    assert body(html) == text


def test_accents_stay_with_the_letter_that_they_are_on() -> None:
    html = page(explanation(Query("वक्र"), Passage("p", "एक वक्र है")))
    assert not re.search(r">[\u0900-\u0903\u093a-\u094f]", html)
    assert body(html) == "एक वक्र है"


def test_long_tail_that_no_row_stands_for_is_folded_and_counted() -> None:
    one = explanation(Query("knot"), Passage("p", "a knot"))
    whole = replace(one, passage_text="a knot" + " and more" * 500)
    html = page(whole)
    assert "<details><summary>4,500 characters more, which the encoder does not read</summary>" in html
    assert "encoder does not read" not in page(one)


def test_marker_words_are_explained_where_they_occur() -> None:
    one = explanation(Query("knot"), Passage("p", "a knot"))
    marked = replace(one, query_rows=(Row("text", "[unused0]"), *one.query_rows[1:]))
    assert "[Q] says that it is a question" in page(marked) and ">[Q]</span>" in page(marked)
    assert "says that it is" not in page(one)


def test_question_without_picture_and_picture_without_question_both_have_pages(red: Path) -> None:
    assert "<svg" not in page(explanation(Query("knot"), Passage("p", "a knot")))
    assert "(picture alone)" in page(explanation(Query(image=red), Passage("p", "a red thing")))


def test_passage_picture_that_is_gone_is_said_in_place(tmp_path: Path) -> None:
    assert "does not exist" in page(explanation(Query("knot"), Passage("p", "a knot", image=tmp_path / "gone.png")))


def test_question_picture_that_is_gone_is_an_error(tmp_path: Path, red: Path) -> None:
    one = explanation(Query("which", image=red), Passage("p", "red"))
    red.unlink()
    with pytest.raises(UnreadableImage, match="does not exist"):
        page(one)


def test_passage_without_rows_still_has_a_page() -> None:
    one = explanation(Query("knot"), Passage("p", "x"))
    bare = Explanation(one.query, one.hit, "knot", "", one.query_rows, (), np.zeros((2, 0), np.float32))
    assert "no rows" in page(bare)
    assert explanation_document(bare)["parts"] == [{"kind": "text", "rows": 2, "score": 0.0}]


def test_document_names_what_each_row_matched() -> None:
    document = explanation_document(explanation(Query("red knot"), Passage("p", "a knot")))
    assert [(row["label"], row["matched"]) for row in document["rows"]][2] == ("knot", "knot")
    assert document["rows"][2]["adds"] == pytest.approx(1.0)


def test_page_is_written_into_a_new_folder_and_refusal_is_an_error(tmp_path: Path) -> None:
    one = explanation(Query("knot"), Passage("p", "a knot"))
    path = write_page(one, tmp_path / "new" / "page.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(StorageError, match="cannot write"):
        write_page(one, path / "below-a-file.html")
