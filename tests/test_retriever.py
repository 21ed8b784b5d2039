"""Retriever: what is built can be found, explained, changed and continued, by its own encoder and no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hash_encoder import COLOURS, TEXTS, HashEncoder
from PIL import Image

from flmr.build import Account, IndexRecipe, index_recipe
from flmr.errors import (
    AlreadyExists,
    DuplicateId,
    EncoderMismatch,
    InvalidInput,
    InvalidRecipe,
    InvalidRecord,
    NotAnIndex,
    UnknownId,
    UnreadableImage,
)
from flmr.index import Index, Searcher, SearchParams
from flmr.model import load_encoder
from flmr.records import MultiVectors, Passage, Query, Question
from flmr.retriever import Retriever, build_from_recipe

PASSAGES = [Passage(name, text, title=name, meta={"length": len(text)}) for name, text in TEXTS.items()]


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def built(tmp_path: Path, encoder: HashEncoder) -> Iterator[Retriever]:
    with Retriever.build(PASSAGES, tmp_path / "kb", encoder, nbits=4) as retriever:
        yield retriever


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (16, 16), colour).save(folder / f"{name}.png")
    (folder / "cut.png").write_bytes((folder / "red.png").read_bytes()[:40])
    return folder


def write_passages(path: Path, lines: Sequence[object]) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def test_words_find_their_passage(built: Retriever) -> None:
    hits = built.search([Query("which flower is red"), Query("what is cold")], k=2)
    assert [found[0].id for found in hits] == ["rose", "snow"]
    assert hits[0][0].passage is not None and hits[0][0].passage.text == TEXTS["rose"]
    assert [hit.rank for hit in hits[0]] == [1, 2] and hits[0][0].score >= hits[0][1].score


def test_picture_finds_the_passage_of_its_colour(built: Retriever, pictures: Path) -> None:
    assert built.search(Query(image=pictures / "blue.png"), k=1)[0][0].id == "sky"


def test_a_string_is_a_question_and_no_question_is_no_answer(built: Retriever) -> None:
    assert built.search("burns", k=1)[0][0].id == "coal"
    assert built.search([]) == []
    with pytest.raises(InvalidInput, match=r"a query must be a flmr\.Query or a string, not int"):
        built.search([3])  # type: ignore[list-item]


def test_filters_reach_the_index(built: Retriever) -> None:
    assert [hit.id for hit in built.search("is", where={"length": {"lt": 22}})[0]] == ["sky"]
    assert {hit.id for hit in built.search("is", only_ids=["sky", "snow"])[0]} == {"sky", "snow"}
    assert "sky" not in {hit.id for hit in built.search("is", exclude_ids=["sky"])[0]}


def test_opened_index_gives_the_hits_of_the_built_one(built: Retriever, encoder: HashEncoder, tmp_path: Path) -> None:
    asked = [Query("a red leaf"), Query("cold sky")]
    with Retriever.open(tmp_path / "kb", encoder) as opened:
        assert opened.search(asked) == built.search(asked)


def test_another_encoder_is_refused_with_both_names_and_the_remedy(built: Retriever, tmp_path: Path) -> None:
    with pytest.raises(EncoderMismatch, match="built by encoder 'hash' but was brought 'other'; open it with 'hash'"):
        Retriever.open(tmp_path / "kb", HashEncoder(name="other"))
    with pytest.raises(EncoderMismatch, match="encoder 'hash' has changed since it built the index"):
        Retriever.open(tmp_path / "kb", HashEncoder(seed=1))


def test_encoder_is_loaded_only_when_needed(built: Retriever, tmp_path: Path) -> None:
    built.close()
    with Retriever.open(tmp_path / "kb") as opened:
        assert len(opened.index) == 5
        opened.delete(["sky"])
        with pytest.raises(Exception, match="hash"):  # no checkpoint is called so
            opened.search("red")


def test_a_path_is_opened_by_open(built: Retriever) -> None:
    for made, words in ((Retriever, r"Retriever\.open\(path\)"), (Searcher, r"Index\.open\(path\)\.searcher\(\)")):
        with pytest.raises(InvalidInput, match=words):
            made(built.index.path)  # type: ignore[operator]


WRONG: dict[str, tuple[Callable[[Retriever, Path, HashEncoder], object], str]] = {
    "a number as a query": (lambda r, path, encoder: r.search(3), "flmr.Query or strings, not int"),
    "a number as a hit": (lambda r, path, encoder: r.explain("red", 3), "one hit or the id"),
    "two queries to explain": (lambda r, path, encoder: r.explain([Query("red")], "sky"), "one flmr.Query or string"),
    "texts as passages": (lambda r, path, encoder: Retriever.build(["red"], path, encoder), "Passage, .* not str"),
    "one passage": (lambda r, path, encoder: r.add(Passage("x", "red")), "list of flmr.Passage, not one Passage"),
    "no encoder": (lambda r, path, encoder: Retriever.build(PASSAGES, path, None), "not NoneType"),
    "no batch": (lambda r, path, encoder: Retriever.build(PASSAGES, path, encoder, batch_size=0), "from 1, not 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_of_another_type_is_refused_by_name(
    built: Retriever, tmp_path: Path, encoder: HashEncoder, name: str
) -> None:
    use, words = WRONG[name]
    with pytest.raises(InvalidInput, match=words):
        use(built, tmp_path / "new", encoder)
    assert len(built.index) == 5 and not (tmp_path / "new").exists()


def test_index_without_recorded_encoder_says_so(tmp_path: Path, encoder: HashEncoder) -> None:
    Index.create(tmp_path / "raw", encoder.encode_passages(PASSAGES), [p.id for p in PASSAGES]).close()
    with Retriever.open(tmp_path / "raw") as opened, pytest.raises(InvalidInput, match="records no encoder"):
        opened.search("red")
    with Retriever.open(tmp_path / "raw", encoder) as opened:
        assert opened.search("what burns", 1)[0][0].id == "coal"
        with pytest.raises(InvalidInput, match="stores no text for 'sky'"):
            opened.explain("sky", "sky")
    with Retriever.open(tmp_path / "raw", HashEncoder(dim=8)) as opened, pytest.raises(InvalidInput, match="D=8"):
        opened.search("red")


def test_folder_that_is_no_index_is_refused(tmp_path: Path, encoder: HashEncoder) -> None:
    with pytest.raises(NotAnIndex):
        Retriever.open(tmp_path, encoder)


def test_build_reads_parquet_as_it_reads_lines(tmp_path: Path, encoder: HashEncoder, built: Retriever) -> None:
    rows = [{"passage_id": p.id, "passage_content": p.text, "title": p.title, **p.meta} for p in PASSAGES]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    with Retriever.build(tmp_path / "p.parquet", tmp_path / "again", encoder, nbits=4, progress=False) as retriever:
        assert retriever.search(["burns", "a red leaf"]) == built.search(["burns", "a red leaf"])


def test_build_reads_a_file_and_accounts_for_bad_lines(tmp_path: Path, encoder: HashEncoder) -> None:
    lines = [{"id": "a", "text": "red"}, "{broken", {"text": "no id"}, {"id": "b", "text": "blue", "year": 2020}]
    account = Account()
    path = write_passages(tmp_path / "p.jsonl", lines)
    with Retriever.build(path, tmp_path / "kb", encoder, account=account) as retriever:
        assert retriever.index.ids() == ["a", "b"]
        assert retriever.search("blue", 1)[0][0].passage == Passage("b", "blue", meta={"year": 2020})
    assert account.encoded == 2 and [line.line for line in account.lines.skipped] == [2, 3]
    with pytest.raises(InvalidRecord, match="line 2"):
        Retriever.build(path, tmp_path / "strict", encoder, strict=True)


def test_unreadable_passage_image_is_left_out_and_counted(tmp_path: Path, pictures: Path) -> None:
    encoder = HashEncoder(encodes_images=True)
    passages = [Passage(n, "thing", image=pictures / f"{n}.png") for n in ("red", "cut", "gone", "blue")]
    account = Account()
    with Retriever.build(passages, tmp_path / "kb", encoder, batch_size=3, account=account) as retriever:
        assert retriever.index.ids() == ["red", "blue"]
        assert retriever.search("blue", 1)[0][0].id == "blue"
    assert set(account.unreadable) == {"cut", "gone"} and "does not exist" in account.unreadable["gone"]
    with pytest.raises(UnreadableImage, match="passage 'cut'"):
        Retriever.build(passages, tmp_path / "strict", encoder, strict=True)


def test_images_are_not_opened_for_an_encoder_of_words(tmp_path: Path, encoder: HashEncoder) -> None:
    account = Account()
    passages = [Passage("a", "red", image=tmp_path / "gone.png")]
    Retriever.build(passages, tmp_path / "kb", encoder, account=account).close()
    assert account.encoded == 1 and not account.unreadable


def test_nothing_to_index_is_an_error(tmp_path: Path, encoder: HashEncoder) -> None:
    with pytest.raises(InvalidInput, match="no passage to index"):
        Retriever.build([], tmp_path / "kb", encoder)
    path = write_passages(tmp_path / "p.jsonl", ["nonsense"])
    with pytest.raises(InvalidRecord, match=r"p\.jsonl' holds no passages"):
        Retriever.build(path, tmp_path / "kb", encoder)
    images = HashEncoder(encodes_images=True)
    with pytest.raises(InvalidInput, match=r"no passage to index \(1 were left out\)"):
        Retriever.build([Passage("a", image=tmp_path / "gone.png")], tmp_path / "kb", images)
    assert {path.name for path in tmp_path.iterdir()} <= {"p.jsonl", "kb.encoding"}


def test_duplicate_id_leaves_no_index(tmp_path: Path, encoder: HashEncoder) -> None:
    with pytest.raises(DuplicateId, match="coal"):
        Retriever.build([*PASSAGES, PASSAGES[0]], tmp_path / "kb", encoder)
    with pytest.raises(NotAnIndex):
        Retriever.open(tmp_path / "kb", encoder)


def test_existing_index_is_not_overwritten_unasked(built: Retriever, tmp_path: Path, encoder: HashEncoder) -> None:
    before = encoder.passages_encoded
    with pytest.raises(AlreadyExists, match="holds an index already"):
        Retriever.build(PASSAGES[:1], tmp_path / "kb", encoder)
    assert encoder.passages_encoded == before
    built.close()
    with Retriever.build(PASSAGES[:1], tmp_path / "kb", encoder, overwrite=True) as again:
        assert again.index.ids() == ["coal"]


class Interrupted(HashEncoder):
    """Stops after some passages, as a user's Ctrl-C would."""

    left = 60

    def encode_passages(self, passages: Sequence[Passage]) -> MultiVectors:
        self.left -= len(passages)
        if self.left < 0:
            raise KeyboardInterrupt
        return super().encode_passages(passages)


MANY = [Passage(str(i), f"number {i} of {i % 7} and {i % 11}", meta={"i": i}) for i in range(150)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_resumed_build_encodes_only_the_rest_and_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Retriever.build(MANY, tmp_path / "kb", Interrupted(), batch_size=20)
    assert (tmp_path / "kb.encoding").exists()
    encoder = HashEncoder()
    account = Account()
    Retriever.build(MANY, tmp_path / "kb", encoder, batch_size=20, resume=True, account=account).close()
    assert encoder.passages_encoded == 90 and account.encoded == 150
    assert not (tmp_path / "kb.encoding").exists()
    Retriever.build(MANY, tmp_path / "whole", HashEncoder(), batch_size=20).close()
    with Index.open(tmp_path / "kb") as resumed, Index.open(tmp_path / "whole") as whole:
        assert resumed.ids() == whole.ids()
        for i in ("0", "59", "60", "149"):
            np.testing.assert_array_equal(resumed.vectors(i), whole.vectors(i))
            assert resumed.passage(i) == whole.passage(i)


class Leaving(HashEncoder):
    """Leaves its rows on its device, where `stop_after` passages are encoded before a user's Ctrl-C."""

    stop_after = 1000
    device = "cpu"

    def encode_passages_on_device(self, passages: Sequence[Passage]) -> list[Any]:
        rows = [torch.tensor(item, device=self.device) for item in self.encode_passages(passages)]
        if self.passages_encoded > self.stop_after:
            raise KeyboardInterrupt
        return rows


@pytest.fixture
def leaving(card: Any, monkeypatch: pytest.MonkeyPatch) -> type[Leaving]:
    monkeypatch.setattr(Leaving, "device", card)
    return Leaving


def test_rows_that_an_encoder_leaves_on_a_card_are_indexed_there(
    tmp_path: Path, leaving: type[Leaving], sent_rows: list[int]
) -> None:
    stored = []
    for device in ("cpu", "cuda"):
        with Retriever.build(MANY[:100], tmp_path / device, leaving(), device=device, batch_size=20) as retriever:
            retriever.add(MANY[100:])
            retriever.add(MANY[:10], update=True)
            stored.append([retriever.index.vectors(passage.id) for passage in MANY])
            assert retriever.search("number 42 of 0 and 9", 1)[0][0].id == "42"
    assert sent_rows == []
    same = [np.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(*stored, strict=True)]
    assert np.mean(same) > 0.99


def test_rows_of_flmr_are_indexed_where_its_model_lies(
    tmp_path: Path, tiny_checkpoint: Path, card: Any, sent_rows: list[int]
) -> None:
    encoder = load_encoder(tiny_checkpoint, device=str(card))
    with Retriever.build(PASSAGES, tmp_path / "kb", encoder, nbits=8, device="cuda") as retriever:
        expected = encoder.encode_passages(PASSAGES)
        for i, passage in enumerate(PASSAGES):
            assert np.abs(retriever.index.vectors(passage.id) - expected[i]).max() < 0.02
    assert sent_rows == []


def test_a_build_on_a_card_is_taken_up_from_its_journal(
    tmp_path: Path, leaving: type[Leaving], sent_rows: list[int]
) -> None:
    encoder = leaving()
    encoder.stop_after = 60
    with pytest.raises(KeyboardInterrupt):
        Retriever.build(MANY, tmp_path / "kb", encoder, batch_size=20, device="cuda")
    encoder = leaving()
    Retriever.build(MANY, tmp_path / "kb", encoder, batch_size=20, device="cuda", resume=True).close()
    assert encoder.passages_encoded == 90
    journalled = len(encoder.encode_passages(MANY[:60]).vectors)
    assert sent_rows == [journalled, journalled]  # to be clustered, and to be packed
    Retriever.build(MANY, tmp_path / "whole", leaving(), batch_size=20, device="cuda").close()
    with Index.open(tmp_path / "kb") as resumed, Index.open(tmp_path / "whole") as whole:
        assert resumed.ids() == whole.ids()
        for passage in MANY:
            np.testing.assert_array_equal(resumed.vectors(passage.id), whole.vectors(passage.id))


def test_an_unreadable_image_is_left_out_of_rows_on_a_card(
    tmp_path: Path, pictures: Path, leaving: type[Leaving]
) -> None:
    passages = [Passage(n, "", image=pictures / f"{n}.png") for n in ("cut", "gone", "red", "cut2", "blue")]
    account = Account()
    encoder = leaving(encodes_images=True)
    with Retriever.build(passages, tmp_path / "kb", encoder, batch_size=2, account=account, device="cuda") as retriever:
        assert retriever.index.ids() == ["red", "blue"]
    assert set(account.unreadable) == {"cut", "gone", "cut2"}


def test_resume_of_a_finished_build_only_opens_it(built: Retriever, tmp_path: Path, encoder: HashEncoder) -> None:
    before = encoder.passages_encoded
    with Retriever.build(PASSAGES, tmp_path / "kb", encoder, resume=True) as again:
        assert len(again.index) == 5 and encoder.passages_encoded == before


def test_interrupted_build_is_taken_up_unasked_unless_its_passages_changed(tmp_path: Path) -> None:
    for changed, encoded in ((MANY, 90), ([Passage("new", "new"), *MANY], 151)):
        with pytest.raises(KeyboardInterrupt):
            Retriever.build(MANY, tmp_path / "kb", Interrupted(), batch_size=20, overwrite=True)
        encoder = HashEncoder()
        Retriever.build(changed, tmp_path / "kb", encoder, batch_size=20, overwrite=True).close()
        assert encoder.passages_encoded == encoded


def test_build_holds_one_batch_in_memory(tmp_path: Path, encoder: HashEncoder) -> None:
    made = 0

    def stream() -> Iterator[Passage]:
        nonlocal made
        for passage in MANY:
            made += 1
            assert made - encoder.passages_encoded <= 20
            yield passage

    Retriever.build(stream(), tmp_path / "kb", encoder, batch_size=20).close()
    assert encoder.passages_encoded == 150


def test_progress_counts_passages(tmp_path: Path, encoder: HashEncoder) -> None:
    seen: list[tuple[str, int, int | None]] = []
    Retriever.build(MANY, tmp_path / "kb", encoder, batch_size=50, progress=lambda *f: seen.append(f)).close()
    assert [facts for facts in seen if facts[0] == "encode"] == [("encode", n, 150) for n in (50, 100, 150)]


def test_added_passages_are_found_and_deleted_ones_are_not(built: Retriever) -> None:
    account = built.add([Passage("sun", "the sun is yellow")])
    assert account.encoded == 1 and built.search("yellow", 1)[0][0].id == "sun"
    built.delete(["sun", "sky"])
    assert {hit.id for hit in built.search("the sky is yellow", 10)[0]} == {"rose", "leaf", "snow", "coal"}


def test_update_replaces_a_passage(built: Retriever) -> None:
    built.add([Passage("sky", "the evening sky is orange")], update=True)
    assert built.search("orange", 1)[0][0].passage == Passage("sky", "the evening sky is orange")
    assert len(built.index) == 5


def test_failed_add_and_delete_change_nothing(built: Retriever) -> None:
    with pytest.raises(DuplicateId, match="sky"):
        built.add([Passage("new", "new"), Passage("sky", "again")])
    with pytest.raises(UnknownId, match="nowhere"):
        built.delete(["rose", "nowhere"])
    with pytest.raises(UnknownId, match="nowhere"):
        built.add([Passage("nowhere", "x")], update=True)
    built.add([Passage("other", "other")])  # and nothing of the failed ones comes in with the next commit
    assert set(built.index.ids()) == {*TEXTS, "other"}


def test_bad_query_image_is_an_error_that_names_the_query(built: Retriever, pictures: Path) -> None:
    asked = [Query("red", id="good"), Query("red", image=pictures / "cut.png", id="bad")]
    with pytest.raises(UnreadableImage, match="query 'bad'"):
        built.search(asked)


def test_many_questions_count_unreadable_images_as_misses(built: Retriever, pictures: Path) -> None:
    questions = [
        Question(Query(image=pictures / f"{name}.png", id=name)) for name in ("red", "cut", "blue", "gone", "white")
    ]
    found = built.search_many(questions, 1, batch_size=2)
    assert {name: [pid for pid, _ in hits] for name, hits in found.run.items()} == {
        "red": ["rose"],
        "cut": [],
        "blue": ["sky"],
        "gone": [],
        "white": ["snow"],
    }
    assert set(found.unreadable) == {"cut", "gone"}
    with pytest.raises(UnreadableImage, match="cut"):
        built.search_many(questions, 1, strict=True)


def test_many_questions_get_the_hits_of_single_ones(built: Retriever) -> None:
    asked = [Query(text, id=name) for name, text in TEXTS.items()]
    run = built.search_many(asked, 3, batch_size=2).run
    for query in asked:
        assert run[query.id] == [(hit.id, hit.score) for hit in built.search(query, 3)[0]]


def test_many_questions_need_ids_of_their_own(built: Retriever) -> None:
    with pytest.raises(InvalidInput, match="question 2 has no id"):
        built.search_many([Query("a", id="1"), Query("b")])
    with pytest.raises(InvalidInput, match="question id '1' occurs twice"):
        built.search_many([Query("a", id="1"), Query("b", id="1")])


@pytest.mark.parametrize("nbits", [0, 1, 2, 4, 8])
@pytest.mark.parametrize("exact", [False, True])
def test_explanation_sums_to_the_score_of_the_search(tmp_path: Path, pictures: Path, nbits: int, exact: bool) -> None:
    query = Query("which red flower", image=pictures / "red.png")
    with Retriever.build(PASSAGES, tmp_path / "kb", HashEncoder(), nbits=nbits) as retriever:
        for hit in retriever.search(query, 3, params=SearchParams(exact=exact))[0]:
            explanation = retriever.explain(query, hit)
            assert float(explanation.similarities.max(1).sum()) == pytest.approx(hit.score, abs=1e-4)
            assert [row.kind for row in explanation.query_rows] == ["text"] * 4 + ["image"] + ["region"] * 4


def test_explanation_by_id_finds_score_and_rank(built: Retriever) -> None:
    hits = built.search("a red flower", 5, params=SearchParams(exact=True))[0]
    for hit in hits:
        found = built.explain("a red flower", hit.id).hit
        assert (found.id, found.rank) == (hit.id, hit.rank) and found.score == pytest.approx(hit.score, abs=1e-5)
    with pytest.raises(UnknownId, match="'nowhere'"):
        built.explain("red", "nowhere")


def test_retriever_of_pooled_rows_finds_and_adds_but_does_not_explain(tmp_path: Path, encoder: HashEncoder) -> None:
    with Retriever.build(PASSAGES[:4], tmp_path / "kb", encoder, pool=2) as retriever:
        retriever.add(PASSAGES[4:])
        for passage in PASSAGES:
            rows = len(encoder.explain_passage(passage)[1])
            assert len(retriever.index.vectors(passage.id)) == -(-rows // 2) < rows
        assert retriever.search("burns", 1)[0][0].id == "coal"
        with pytest.raises(InvalidInput, match=r"of which \d were made \(pool=2\).*build the index with pool=1"):
            retriever.explain("burns", "coal")


def test_recipe_names_passages_and_encoder_relative_to_itself(tmp_path: Path) -> None:
    recipe = tmp_path / "kb.toml"
    recipe.write_text(
        'passages = "p.jsonl"\ncheckpoint = "runs/x"\nnbits = 4\npool = 3\n'
        '[evaluate.test]\nquestions = "q.jsonl"\nks = [1, 5]\n'
    )
    loaded = index_recipe(recipe)
    assert loaded.passages == tmp_path / "p.jsonl" and loaded.encoder_name == str(tmp_path / "runs" / "x")
    assert loaded.evaluate["test"].ks == (1, 5)
    changed = index_recipe(recipe, encoder="bundled", nbits=2)
    assert (changed.encoder_name, changed.nbits, changed.passages) == ("bundled", 2, loaded.passages)
    assert (loaded.pool, changed.pool, index_recipe(recipe, pool=2).pool) == (3, 3, 2)
    assert index_recipe(tmp_path / "p.jsonl").encoder_name == "LinWeizheDragon/PreFLMR_ViT-L"
    recipe.write_text('passages = "p.jsonl"\nnbit = 4\n')
    with pytest.raises(InvalidRecipe, match="unknown key 'nbit'; did you mean 'nbits'"):
        index_recipe(recipe)
    with pytest.raises(InvalidRecipe, match="an encoder or a checkpoint, not both"):
        IndexRecipe(tmp_path, encoder="bundled", checkpoint=tmp_path)


def test_recipe_is_kept_in_the_index(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_passages(tmp_path / "p.jsonl", [{"id": "a", "text": "a b c"}])
    recipe = IndexRecipe(tmp_path / "p.jsonl", checkpoint=tiny_checkpoint, nbits=8, pool=2)
    with build_from_recipe(recipe, tmp_path / "kb") as retriever:
        assert (retriever.index.info()["nbits"], retriever.index.info()["pool"]) == (8, 2)
        assert retriever.index.encoder is not None
        assert retriever.index.encoder["fingerprint"] == retriever.encoder.fingerprint
    with Retriever.open(tmp_path / "kb") as opened:
        assert opened.search("a b", 1)[0][0].id == "a"


def test_an_index_asks_with_as_many_rows_of_a_picture_whenever_it_is_opened(
    tmp_path: Path,
    pictures: Path,
    tiny_checkpoint: Path,
) -> None:
    write_passages(tmp_path / "p.jsonl", [{"id": "a", "text": "a b c"}, {"id": "b", "text": "red"}])
    asked = [Query("a b", pictures / "red.png")]
    rows = load_encoder(tiny_checkpoint).encode_queries(asked)
    recipe = IndexRecipe(tmp_path / "p.jsonl", checkpoint=tiny_checkpoint, pool_visual=5)
    with build_from_recipe(recipe, tmp_path / "kb") as built:
        pooled, hits = built.encode(asked), built.search(asked)
        assert built.index.encoder is not None and built.index.encoder["pool_visual"] == 5
        visual = 4 + 16  # prefix rows and patches
        assert len(pooled.vectors) == len(rows.vectors) - visual + visual // 5
    for encoder in (None, tiny_checkpoint):
        with Retriever.open(tmp_path / "kb", encoder) as opened:
            assert np.array_equal(opened.encode(asked).vectors, pooled.vectors) and opened.search(asked) == hits
    with Retriever.open(tmp_path / "kb", load_encoder(tiny_checkpoint)) as opened:  # its own setting
        assert np.array_equal(opened.encode(asked).vectors, rows.vectors)
    for encoder in (None, tiny_checkpoint):
        with Retriever.open(tmp_path / "kb", encoder, pool_visual=1) as opened:
            assert np.array_equal(opened.encode(asked).vectors, rows.vectors)
    with pytest.raises(InvalidInput, match="leave pool_visual out"):
        Retriever.open(tmp_path / "kb", load_encoder(tiny_checkpoint), pool_visual=5)
    with Retriever.build(tmp_path / "p.jsonl", tmp_path / "plain", tiny_checkpoint, progress=False) as plain:
        assert plain.index.encoder is not None and set(plain.index.encoder) == {"name", "fingerprint", "dim"}


def test_another_encoder_is_refused_also_where_it_has_no_rows_to_pool(
    tmp_path: Path,
    shared: Path,
    tiny_checkpoint: Path,
) -> None:
    encoder = load_encoder(tiny_checkpoint, pool_visual=5)
    Retriever.build([Passage("a", "red")], tmp_path / "kb", encoder, progress=False).close()
    with pytest.raises(EncoderMismatch, match="text_only"):
        Retriever.open(tmp_path / "kb", shared / "golden" / "text_only")


def test_first_words_of_passages_stand_in_for_questions_where_an_index_is_large(
    tmp_path: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Retriever.build(PASSAGES, tmp_path / "small", encoder) as small:
        assert small.index.info()["sample_queries"] == 0  # a search looks at everything
    monkeypatch.setattr("flmr.retriever.SCAN_VECTORS", 0)
    for name in ("large", "again"):
        with Retriever.build(PASSAGES, tmp_path / name, encoder) as large:
            assert large.index.info()["sample_queries"] == len(PASSAGES)
    assert files_of(tmp_path / "large") == files_of(tmp_path / "again")


def test_questions_can_be_shown_to_an_index_when_it_is_built_and_later(tmp_path: Path, encoder: HashEncoder) -> None:
    asked = ["what is red", Query(text="which one burns"), "where is snow"]
    with Retriever.build(PASSAGES, tmp_path / "kb", encoder, sample_queries=asked) as retriever:
        assert retriever.index.info()["sample_queries"] == 3
        before = retriever.search("black", 3)
        retriever.calibrate(asked[:2])
        assert retriever.index.info()["sample_queries"] == 2
        assert [(hit.id, hit.score) for hit in retriever.search("black", 3)[0]] == [
            (hit.id, hit.score) for hit in before[0]
        ]
        with pytest.raises(InvalidInput):
            retriever.calibrate([])
        assert retriever.index.info()["sample_queries"] == 2


def test_an_encoder_that_needs_pictures_builds_without_first_words(
    tmp_path: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(queries: Sequence[Query]) -> MultiVectors:
        raise InvalidInput("a query needs a picture")

    monkeypatch.setattr("flmr.retriever.SCAN_VECTORS", 0)
    monkeypatch.setattr(encoder, "encode_queries", refuse)
    with Retriever.build(PASSAGES, tmp_path / "kb", encoder) as retriever:
        assert retriever.index.info()["sample_queries"] == 0
    with pytest.raises(InvalidInput, match="picture"):
        Retriever.build(PASSAGES, tmp_path / "other", encoder, sample_queries=["red"])
    assert not (tmp_path / "other").exists()
