"""From a name to an encoder: the bundled checkpoint, a folder, or a hub repository.

Knows which layouts there are and tells what it found where it knows none.  Knows nothing of towers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flmr.errors import CheckpointError, InvalidInput, MissingExtra, NotAvailable
from flmr.model.hub import checkpoint_folder
from flmr.roles import Encoder

BUNDLED = "bundled"


def load_encoder(
    name_or_path: str | Path, *, device: str | None = None, batch_size: int = 32, pool_visual: int = 1
) -> Encoder:
    """The encoder of a checkpoint folder (FLMR, colbert-ai, CLIP, open_clip or SigLIP), of a hub name, or "bundled".

    device: "cpu", "cuda", ...; by default a GPU where there is one.  pool_visual: of so many rows of a query's pictures
    one is made; passages stay as they are, so that one index answers with and without.
    What is local is loaded without any attempt on the network.  Raises NotAvailable where it is neither local nor
    reachable, CheckpointError where it is in no known layout or not a whole one, InvalidInput where there are no
    rows of pictures to pool, MissingExtra where torch or transformers is not installed.
    """
    name, folder = _find(name_or_path)
    layout = _layout(folder)
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(f"encoders need {error.name}, which is not installed: pip install flmr") from error
    options: dict[str, Any] = {"name": name, "device": device, "batch_size": batch_size}
    if layout in ("flmr", "colbert"):
        from flmr.model.encoder import FLMREncoder
        from flmr.model.flmr import load_checkpoint

        return FLMREncoder(*load_checkpoint(folder), **options, pool_visual=pool_visual)
    if layout in ("clip", "open_clip", "siglip"):
        from flmr.model.single import SingleVectorEncoder

        if pool_visual != 1:
            raise InvalidInput(
                f"encoder {name!r} makes one vector of a query, so there are no rows to pool; leave pool_visual out"
            )
        return SingleVectorEncoder(_towers(layout, folder), **options)
    raise CheckpointError(
        f"{str(folder)!r} holds {layout}; checkpoints in the published FLMR layout are read (config.json with "
        "model_type 'flmr', weights, query_tokenizer/, context_tokenizer/), those of colbert-ai over BERT, CLIP's"
        " of transformers and open_clip, and SigLIP's of transformers (model_type 'siglip', one resolution)"
    )


def _towers(layout: str, folder: Path) -> Any:
    if layout == "clip":
        from flmr.model.clip import load_clip

        return load_clip(folder)
    if layout == "siglip":
        from flmr.model.siglip import load_siglip

        return load_siglip(folder)
    from flmr.model.open_clip import load_open_clip

    return load_open_clip(folder)


def _find(name_or_path: str | Path) -> tuple[str, Path]:
    """What the encoder is called, and its folder."""
    if not isinstance(name_or_path, str | Path):
        raise InvalidInput(f"an encoder is named by a string or a Path, not by {type(name_or_path).__name__}")
    if str(name_or_path) == BUNDLED:
        folder = Path(__file__).parent / "bundled"
        if not (folder / "config.json").is_file():
            raise NotAvailable(
                "this installation of flmr carries no bundled checkpoint; reinstall it from a release, "
                "or give the folder of a checkpoint"
            )
        return BUNDLED, folder
    folder = checkpoint_folder(name_or_path)
    is_local = Path(name_or_path).expanduser().is_dir()
    return (str(folder.resolve()) if is_local else str(name_or_path)), folder


def _layout(folder: Path) -> str:
    """What a folder holds: "flmr", "colbert", "clip", "open_clip", "siglip", or other words for an error message."""
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names:
        shown = ", ".join(sorted(names)[:5]) or "nothing"
        return "open_clip" if "open_clip_config.json" in names else f"no config.json (found: {shown})"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type, architectures = config.get("model_type"), config.get("architectures")
    except (OSError, ValueError, AttributeError) as error:
        return f"a config.json that cannot be read ({error})"
    if model_type in ("clip", "siglip") and "open_clip_config.json" in names:  # of both: whose weights are there?
        return str(model_type) if any(name.startswith(("model", "pytorch_model")) for name in names) else "open_clip"
    if model_type in ("flmr", "clip", "siglip"):
        return str(model_type)
    if "artifact.metadata" in names or "HF_ColBERT" in (architectures or ()):
        return "colbert"
    return f"a {model_type!r} model ({', '.join(architectures or ['no architecture named'])})"
