"""What is installed: `flmr` and nothing else; and what importing it costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import flmr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(ROOT),
    ]
    without_cuda = {**os.environ, "FLMR_CUDA": "OFF"}
    done = subprocess.run(command, capture_output=True, text=True, env=without_cuda, timeout=600)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_flmr_only(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"flmr"}


def test_wheel_holds_the_native_module_the_marker_and_the_bundled_checkpoint(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any(name.startswith("flmr/_native") and name.endswith(".so") for name in names)
    assert "flmr/py.typed" in names
    assert "flmr/model/bundled/model.safetensors" in names
    assert "flmr/model/bundled/query_tokenizer/vocab.txt" in names


def run_without(blocked: tuple[str, ...], code: str) -> str:
    """Run code in a new interpreter where importing `blocked` packages fails; return what it prints."""
    block = f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ONLY_NUMPY = ("torch", "transformers", "PIL", "bitarray", "typer", "rich", "tokenizers", "safetensors", "matplotlib")


def test_index_works_where_torch_is_not_installed(tmp_path: Path) -> None:
    code = f"""
import numpy as np, flmr, flmr.index
rng = np.random.default_rng(0)
items = [rng.standard_normal((4, 16), dtype=np.float32) for _ in range(20)]
with flmr.Index.create({str(tmp_path / "x.index")!r}, flmr.MultiVectors.from_list(items)) as ix:
    print(ix.search(items[7], k=1)[0][0].id)
"""
    assert run_without(ONLY_NUMPY, code) == "7"


def test_the_published_search_works_where_torch_is_not_installed(tmp_path: Path) -> None:
    code = f"""
import numpy as np, flmr
rng = np.random.default_rng(0)
items = [rng.standard_normal((4, 16), dtype=np.float32) for _ in range(20)]
path = {str(tmp_path / "default_experiment" / "indexes" / "index.nbits=8")!r}
flmr.Index.create(path, flmr.MultiVectors.from_list(items), nbits=8).close()
searcher = flmr.create_searcher({str(tmp_path)!r}, use_gpu=False)
print(flmr.search_custom_collection(searcher, {{"q": ""}}, np.stack([items[7]])).todict()["q"][0][0])
"""
    assert run_without(ONLY_NUMPY, code) == "7"


def test_importing_the_engine_takes_less_than_a_second_of_a_processor_and_no_torch() -> None:
    code = (
        "import time, sys; t = time.process_time()\n"
        "import flmr.index\nprint(time.process_time() - t < 1, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.split() == ["True", "False"], done.stdout + done.stderr


def test_front_door_names_all_resolve() -> None:
    for name in flmr.__all__:
        assert getattr(flmr, name) is not None


def test_every_name_that_the_readme_spells_out_is_there_after_import_flmr() -> None:
    names = set(re.findall(r"`(flmr(?:\.[A-Za-z_]+)+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert len(names) > 10
    code = f"import flmr\nfor name in {sorted(names)!r}: eval(name)\nprint('all')"
    assert run_without((), code) == "all"


def test_what_needs_torch_says_so_where_it_is_not_installed() -> None:
    code = """
import flmr
for use in (lambda: flmr.FLMRConfig, lambda: flmr.train, lambda: flmr.load_encoder("bundled")):
    try:
        use()
    except flmr.FlmrError as error:
        print(error)
"""
    said = run_without(ONLY_NUMPY, code).splitlines()
    assert len(said) == 3 and all("not installed: pip install flmr" in line for line in said)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Indx'"):
        _ = flmr.Indx
