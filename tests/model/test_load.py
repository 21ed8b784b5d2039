"""From a name to an encoder, and what is said where there is none."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flmr
from flmr.errors import CheckpointError, InvalidInput, NotAvailable
from flmr.model import load, load_encoder
from flmr.model.encoder import FLMREncoder
from flmr.records import Passage, Query


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt on the network fails and is noted."""
    attempts: list[str] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        attempts.append(str(args))
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


@pytest.mark.parametrize("case", ["preflmr", "flmr_mlp_context_keys", "text_only"])
def test_a_local_folder_is_loaded_without_any_attempt_on_the_network(
    golden: Any, no_network: list[str], case: str
) -> None:
    encoder = load_encoder(golden(case).folder, device="cpu")
    encoder.encode_passages([Passage("a", "the capital")])
    encoder.encode_queries([Query("what?", instruction="name")])
    assert no_network == []
    assert encoder.name == str(golden(case).folder.resolve())


def test_a_folder_and_its_copy_have_one_fingerprint(tiny_folder: Path, tmp_path: Path) -> None:
    first = load_encoder(tiny_folder, device="cpu")
    assert isinstance(first, FLMREncoder)
    first.model.save_pretrained(tmp_path / "copy")
    assert load_encoder(str(tmp_path / "copy"), device="cpu").fingerprint == first.fingerprint


def test_rows_of_pictures_are_pooled_where_a_query_has_them(tiny_folder: Path, picture: Path, golden: Any) -> None:
    query = [Query("name a bird", picture)]
    plain, pooled = (load_encoder(tiny_folder, device="cpu", pool_visual=n) for n in (1, 7))
    assert len(pooled.encode_queries(query).vectors) == len(plain.encode_queries(query).vectors) - 6
    assert pooled.fingerprint == plain.fingerprint
    with pytest.raises(InvalidInput, match=r"makes no rows of a query's pictures.*leave pool_visual out"):
        load_encoder(golden("text_only").folder, device="cpu", pool_visual=2)


@pytest.mark.parametrize("factor", [0, -1, 1.5, True, 1025])
def test_a_factor_of_pooling_that_is_none_is_refused(tiny_folder: Path, factor: Any) -> None:
    with pytest.raises(InvalidInput, match="pool_visual must be a whole number from 1 to 1,024"):
        load_encoder(tiny_folder, device="cpu", pool_visual=factor)


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_name_that_is_out_of_reach_names_the_bundled_encoder(
    no_network: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: bool
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotAvailable) as caught:
        load_encoder("LinWeizheDragon/PreFLMR_ViT-L")
    message = str(caught.value)
    assert "--encoder bundled" in message and "PreFLMR_ViT-L" in message and "\n" not in message
    if offline:
        assert no_network == []


@pytest.fixture
def cached(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of `owner/name` in a hub cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "snapshots").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return tiny_folder.rename(repository / "snapshots" / ("0" * 40))


def test_a_cached_hub_name_is_loaded_without_any_attempt_on_the_network(no_network: list[str], cached: Path) -> None:
    from flmr.model.flmr import FLMRModelForRetrieval, FLMRQueryEncoderTokenizer

    encoder = load_encoder("owner/name", device="cpu")
    FLMRModelForRetrieval.from_pretrained("owner/name")
    FLMRQueryEncoderTokenizer.from_pretrained("owner/name", subfolder="query_tokenizer")
    assert encoder.name == "owner/name" and no_network == []


def test_a_cached_config_without_weights_is_not_taken_for_the_model(no_network: list[str], cached: Path) -> None:
    (cached / "model.safetensors").unlink()
    with pytest.raises(NotAvailable, match="neither cached nor reachable"):
        load_encoder("owner/name")


@pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "a/b/c", "~nobody/x"])
def test_a_folder_that_is_not_there_is_named(no_network: list[str], name: str) -> None:
    with pytest.raises(NotAvailable, match="no folder"):
        load_encoder(name)
    assert no_network == []


def test_bundled_is_the_folder_in_the_package(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(load, "__file__", str(tmp_path / "load.py"))
    with pytest.raises(NotAvailable, match="no bundled checkpoint"):
        load_encoder("bundled")
    tiny_folder.rename(tmp_path / "bundled")
    assert load_encoder("bundled", device="cpu").name == "bundled"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "no config.json"),
        ({"config.json": "{"}, "cannot be read"),
        ({"config.json": json.dumps({"model_type": "t5", "architectures": ["T5Model"]})}, "'t5' model"),
        ({"config.json": '{"model_type": "bert"}'}, "'bert' model"),
        ({"open_clip_config.json": "{}"}, "no table model_cfg"),
    ],
)
def test_another_layout_is_refused_and_named(tmp_path: Path, files: dict[str, str], found: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=found):
        load_encoder(tmp_path)


def test_importing_flmr_model_imports_no_torch_and_registers_nothing() -> None:
    program = "import sys, flmr, flmr.model; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    root = Path(flmr.__file__).parent.parent
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
