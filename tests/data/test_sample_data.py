"""The atlas as data: ids, texts, questions, pictures, splits."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from flmr.data import read_passages, read_questions
from flmr.data.sample import entities, passages, render, write_sample
from flmr.data.sample.figure import Figure
from flmr.data.sample.questions import IMAGE_INSTRUCTIONS, INSTRUCTIONS, SPLITS, WORDINGS, draw, types
from flmr.data.sample.render import SPLIT_STYLES, seed_of
from flmr.data.sample.scene import thinned
from flmr.data.sample.styles import STYLES, TEST_STYLES, TRAIN_STYLES, VALID_STYLES
from flmr.errors import InvalidInput

COUNTS = {"train": 2, "valid": 1, "test": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("atlas")
    write_sample(path, renderings=COUNTS, size=32)  # type: ignore[arg-type]
    return path


def words_of(text: str) -> set[str]:
    return {word.strip(".,:;?!'()").lower() for word in text.split()}


def test_there_are_enough_entities_and_passages() -> None:
    assert 110 <= len(entities()) <= 140
    assert len(passages()) == 4 * len(entities()) >= 440
    assert len({p.id for p in passages()}) == len(passages())
    assert len({e.title for e in entities()}) == len(entities())


def test_passages_have_25_to_80_words_and_no_markup() -> None:
    for passage in passages():
        assert 25 <= len(passage.text.split()) <= 80, passage.id
        assert not set("{}|\\$") & set(passage.text), passage.id
        assert passage.text[0].isupper() and passage.text.endswith("."), passage.id
        assert "  " not in passage.text, passage.id


def test_every_passage_holds_a_fact() -> None:
    for entity in entities():
        for kind in entity.texts:
            assert entity.facts(kind), (entity.id, kind)


def test_every_answer_is_in_its_positive_passage() -> None:
    texts = {passage.id: passage.full_text for passage in passages()}
    for entity in entities():
        for split in SPLITS:
            rng = np.random.default_rng(0)
            for _ in range(8):
                drawn = draw(entity, split, rng)
                for passage_id in drawn.positive_ids(entity):
                    assert any(answer in texts[passage_id] for answer in drawn.answers), (passage_id, drawn)


def test_no_question_names_its_figure(folder: Path) -> None:
    titles = {entity.id: words_of(entity.name) for entity in entities()}
    common = {"of", "the", "to", "with", "and", "three", "one", "two", "four", "curve", "figure", "order"}
    for split in SPLITS:
        for question in read_questions(folder / f"questions.{split}.jsonl", strict=True):
            shared = words_of(question.query.text) & (titles[question.meta["entity"]] - common)
            # the wordings count "cusps, petals or loops" for every figure, which tells nothing of this one
            assert shared <= {"cusps", "petals", "loops"}, question.id


def test_at_least_eight_types_of_question_each_with_wordings_of_its_own_per_split() -> None:
    assert len(WORDINGS) >= 8
    for name, by_split in WORDINGS.items():
        seen = [text for split in SPLITS for text in by_split[split]]
        assert len(seen) == len(set(seen)), name
        assert len(by_split["train"]) >= 3
    everything = Counter(text for by_split in WORDINGS.values() for split in SPLITS for text in by_split[split])
    assert max(everything.values()) == 1
    for entity in entities():
        assert len(types(entity)) >= 8, entity.id


def test_valid_and_test_have_styles_and_seeds_of_their_own() -> None:
    groups = [set(TRAIN_STYLES), set(VALID_STYLES), set(TEST_STYLES)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(STYLES)
    assert len(VALID_STYLES) >= 1 and len(TEST_STYLES) >= 2
    assert set(SPLIT_STYLES["test"][1]) == set(TEST_STYLES) and not SPLIT_STYLES["train"][1]
    seeds = [seed_of(split, number) for split in SPLITS for number in range(100)]
    assert len(set(seeds)) == len(seeds)


def test_written_files_resolve(folder: Path) -> None:
    ids = {passage.id for passage in read_passages(folder / "passages.jsonl", strict=True)}
    assert ids == {passage.id for passage in passages()}
    for split, count in COUNTS.items():
        questions = list(read_questions(folder / f"questions.{split}.jsonl", strict=True))
        assert len(questions) == count * len(entities())
        assert {question.meta["entity"] for question in questions} == {entity.id for entity in entities()}
        for question in questions:
            assert set(question.positive_ids) <= ids and question.positive_ids and question.answers
            with Image.open(str(question.query.image)) as image:
                assert image.size == (32, 32) and image.mode == "RGB"
            assert question.meta["style"] in (SPLIT_STYLES[split][0] + SPLIT_STYLES[split][1])
    held_out = [q.meta["held_out_style"] for q in read_questions(folder / "questions.test.jsonl")]
    assert 0.3 < np.mean(held_out) < 0.7


def test_names_and_pictures_pair_every_figure_once(folder: Path) -> None:
    names = {passage.id: passage.text for passage in read_passages(folder / "names.jsonl", strict=True)}
    assert names == {entity.id: entity.title for entity in entities()}
    pictures = list(read_questions(folder / "pictures.train.jsonl", strict=True))
    assert len(pictures) == COUNTS["train"] * len(entities())
    assert all(picture.positive_ids == (picture.meta["entity"],) and not picture.query.text for picture in pictures)


def test_the_same_call_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, splits=("valid",), renderings=COUNTS, size=32)  # type: ignore[arg-type]
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path.name


def test_a_picture_follows_from_entity_seed_and_style() -> None:
    first = np.asarray(render("cardioid", 5, "ink", 48))
    assert (first == np.asarray(render("cardioid", 5, "ink", 48))).all()
    assert (first != np.asarray(render("cardioid", 6, "ink", 48))).any()
    assert (first != np.asarray(render("nephroid", 5, "ink", 48))).any()


@pytest.mark.parametrize("style", STYLES)
def test_every_style_shows_every_kind_of_figure(style: str) -> None:
    for entity_id in ("cardioid", "archimedean-spiral", "sierpinski-carpet", "barnsley-fern"):
        picture = np.asarray(render(entity_id, 1, style, 64), np.float64)
        assert picture.shape == (64, 64, 3) and picture.std() > 4


def test_unknown_entity_style_and_split_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="cardiod"):
        render("cardiod", 1, "ink")
    with pytest.raises(InvalidInput, match="oils"):
        render("cardioid", 1, "oils")
    with pytest.raises(InvalidInput, match="16 pixels"):
        render("cardioid", 1, "ink", 4)
    with pytest.raises(InvalidInput, match="dev"):
        write_sample("never-written", splits=("dev",))  # type: ignore[arg-type]


def test_no_two_instructions_are_alike_and_each_ends_with_the_only_mark() -> None:
    instructions = (*INSTRUCTIONS, *IMAGE_INSTRUCTIONS)
    assert len(set(instructions)) == 8
    assert all(text.endswith(":") and text.count(":") == 1 for text in instructions)


def test_the_wheel_of_the_sample_is_json_without_surprises(folder: Path) -> None:
    for line in (folder / "passages.jsonl").read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"id", "title", "text", "entity", "kind"}


def outline(figure: Figure) -> np.ndarray:
    """The unit drawing on a polar grid, blurred a little and normalised: (radius, angle)."""
    image = Image.new("L", (192, 192))
    draw_on = ImageDraw.Draw(image)
    for stroke in figure.strokes:
        pixels = [(96 + 92 * x, 96 - 92 * y) for x, y in stroke.tolist()]
        if figure.kind == "dots":
            for x, y in pixels:
                draw_on.ellipse((x - 2, y - 2, x + 2, y + 2), fill=255)
        elif figure.kind == "solid":
            draw_on.polygon(pixels, fill=255)
        else:
            draw_on.line(pixels, fill=255, width=5)
    grey = np.asarray(image.reduce(2).filter(ImageFilter.GaussianBlur(0.8)), np.float64)
    radius, angle = np.linspace(0.03, 0.98, 32)[:, None], np.arange(180) * 2 * np.pi / 180
    x, y = 48 + 46 * radius * np.cos(angle), 48 - 46 * radius * np.sin(angle)
    polar = grey[y.astype(int), x.astype(int)] * np.sqrt(radius)
    polar = polar - polar.mean()
    return np.asarray(polar / np.linalg.norm(polar))


def test_no_two_figures_are_the_same_drawing_turned_or_mirrored() -> None:
    spectra = [np.fft.rfft(outline(thinned(entity.figure())), axis=1) for entity in entities()]
    ids = [entity.id for entity in entities()]
    alike = []
    for i, first in enumerate(spectra):
        for j in range(i):
            turned = np.fft.irfft((first * spectra[j].conj()).sum(0), 180).max()
            mirrored = np.fft.irfft((first * spectra[j]).sum(0), 180).max()
            if max(turned, mirrored) > 0.9:
                alike.append((ids[i], ids[j], float(max(turned, mirrored))))
    assert not alike
