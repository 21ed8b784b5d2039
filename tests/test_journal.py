"""The journal of a build: what it kept comes back bit by bit, and what is damaged or changed is encoded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hash_encoder import HashEncoder

from flmr.build import encode_batch
from flmr.errors import InvalidInput
from flmr.journal import Journal
from flmr.records import Passage

BATCHES = [[Passage(f"{b}-{i}", f"text {b} of {i}" * (i + 1)) for i in range(3)] for b in range(3)]


def write(folder: Path, encoder: HashEncoder, batches: list[list[Passage]] = BATCHES) -> None:
    with Journal(folder, encoder, 3, resume=False) as journal:
        for batch in batches:
            journal.append(batch, encode_batch(batch, encoder, strict=False))


def replayed(folder: Path, encoder: HashEncoder, batches: list[list[Passage]] = BATCHES) -> list[bool]:
    with Journal(folder, encoder, 3, resume=True) as journal:
        found = []
        for batch in batches:
            encoded = journal.replay(batch)
            found.append(encoded is not None)
            if encoded is not None:
                assert encoded.ids == tuple(passage.id for passage in batch)
                np.testing.assert_array_equal(
                    encoded.vectors.vectors, encoder.encode_passages(batch).vectors.astype("f2")
                )
        return found


def test_every_batch_comes_back_bit_by_bit(tmp_path: Path) -> None:
    encoder = HashEncoder()
    write(tmp_path / "j", encoder)
    assert replayed(tmp_path / "j", encoder) == [True, True, True]


def test_without_resume_only_a_journal_of_the_same_encoder_is_taken_up(tmp_path: Path) -> None:
    write(tmp_path / "j", HashEncoder())
    with Journal(tmp_path / "j", HashEncoder(), 3, resume=False) as journal:
        assert journal.replay(BATCHES[0]) is not None
    with Journal(tmp_path / "j", HashEncoder(name="other"), 3, resume=False) as journal:
        assert journal.replay(BATCHES[0]) is None


@pytest.mark.parametrize("name", ["journal.jsonl", "vectors.raw"])
@pytest.mark.parametrize("cut", [1, 40, 120])
def test_truncated_files_lose_only_their_tail(tmp_path: Path, name: str, cut: int) -> None:
    encoder = HashEncoder()
    write(tmp_path / "j", encoder)
    path = tmp_path / "j" / name
    path.write_bytes(path.read_bytes()[:-cut])
    found = replayed(tmp_path / "j", encoder)
    assert found == [True, True, False]


def test_flipped_byte_is_noticed_and_what_follows_is_encoded_again(tmp_path: Path) -> None:
    encoder = HashEncoder()
    write(tmp_path / "j", encoder)
    path = tmp_path / "j" / "vectors.raw"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert replayed(tmp_path / "j", encoder) == [True, False, False]


def test_changed_passage_is_encoded_again(tmp_path: Path) -> None:
    encoder = HashEncoder()
    write(tmp_path / "j", encoder)
    changed = [BATCHES[0], [Passage("1-0", "other"), *BATCHES[1][1:]], BATCHES[2]]
    assert replayed(tmp_path / "j", encoder, changed) == [True, False, False]


def test_appending_after_a_damaged_tail_leaves_a_sound_journal(tmp_path: Path) -> None:
    encoder = HashEncoder()
    write(tmp_path / "j", encoder)
    path = tmp_path / "j" / "vectors.raw"
    path.write_bytes(path.read_bytes()[:-5])
    with Journal(tmp_path / "j", encoder, 3, resume=True) as journal:
        assert [journal.replay(batch) is not None for batch in BATCHES] == [True, True, False]
        journal.append(BATCHES[2], encode_batch(BATCHES[2], encoder, strict=False))
    assert replayed(tmp_path / "j", encoder) == [True, True, True]


def test_another_encoder_or_batch_size_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "j", HashEncoder())
    with pytest.raises(InvalidInput, match="used encoder 'hash', not 'other'"):
        Journal(tmp_path / "j", HashEncoder(name="other"), 3, resume=True)
    with pytest.raises(InvalidInput, match="used batch_size 3, not 4"):
        Journal(tmp_path / "j", HashEncoder(), 4, resume=True)


def test_removed_journal_leaves_no_folder(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", HashEncoder(), 3, resume=False)
    journal.remove()
    assert not (tmp_path / "j").exists()
