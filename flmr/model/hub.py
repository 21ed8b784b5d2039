"""Where a checkpoint's folder is: a folder that is there, or a hub repository that is cached or can be fetched; and its
way to a repository.

Knows the hub client's cache.  What is local is never asked of the network.  Knows nothing of what the folder holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flmr.errors import NotAvailable

UPLOAD_ARGUMENTS = ("repo_id", "token", "private", "revision", "create_pr", "commit_message", "commit_description")
CHECKPOINT_FILES = ("*.json", "*.safetensors", "*.txt", "spiece.model", "*.metadata", "*/*.json", "*/vocab.txt")
WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin", "open_clip_pytorch_model*.bin")


def checkpoint_folder(
    name_or_path: str | Path,
    *,
    files: Sequence[str] = CHECKPOINT_FILES,
    needs: Sequence[str] = WEIGHT_FILES,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """The folder of a checkpoint, given as a path or as a hub name `owner/name`.

    A folder is used as it is; a cached hub snapshot that holds one of `needs` comes next; the network last, and there
    `files` are fetched first and `needs` only where they bring none of them.  Raises NotAvailable.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    name = str(name_or_path)
    if not _is_hub_name(name):
        raise NotAvailable(f"no folder {name!r}; give the folder of a checkpoint, a hub name, or 'bundled'")

    from huggingface_hub import constants, snapshot_download

    where: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
    if not force_download:
        try:
            folder = Path(str(snapshot_download(name, local_files_only=True, **where)))
            if _holds(folder, needs):
                return folder
        except (OSError, ValueError):  # not in the cache, whatever the client's version calls that
            pass
    if local_files_only or constants.HF_HUB_OFFLINE:
        raise NotAvailable(_unavailable(name, "the hub client is offline"))
    try:
        where["force_download"] = force_download
        folder = Path(str(snapshot_download(name, allow_patterns=[*files], **where)))
        if not _holds(folder, needs):  # an old repository: pickled weights, read as plain tensors only
            folder = Path(str(snapshot_download(name, allow_patterns=[*files, *needs], **where)))
    except Exception as error:  # the client raises its own, httpx's, requests' and urllib3's errors
        raise NotAvailable(_unavailable(name, _reason(error))) from error
    if not _holds(folder, needs):  # out of reach, the client gives what little it has
        raise NotAvailable(_unavailable(name, f"none of {', '.join(needs)} could be had"))
    return folder


def upload(
    folder: Path,
    repo_id: str | None,
    files: Sequence[str],
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    commit_description: str | None = None,
) -> None:
    """Put those files of a folder, patterns among them, into a hub repository, in one commit.

    repo_id: None takes the folder's name.  The repository, and the branch where revision names one, are made where they
    are not there.  Raises NotAvailable.
    """
    from huggingface_hub import HfApi

    repo_id = repo_id or folder.resolve().name
    try:
        api = HfApi(token=token)
        repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not create_pr:
            api.create_branch(repository, branch=revision, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[*files],
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message or f"Upload {folder.name}",
            commit_description=commit_description,
        )
    except Exception as error:  # the client raises its own, httpx's, requests' and urllib3's errors
        raise NotAvailable(
            f"{str(folder)!r} is saved but could not be pushed to {repo_id!r} ({_reason(error)}); check the name, the "
            "token and the connection, then call push_to_hub(repo_id)"
        ) from error


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _holds(folder: Path, patterns: Sequence[str]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _unavailable(name: str, reason: str) -> str:
    return (
        f"model {name!r} is no folder here and neither cached nor reachable ({reason}); connect and retry, give a "
        "folder, or use the small one in the package: --encoder bundled"
    )


def _is_hub_name(name: str) -> bool:
    parts = name.split("/")
    plain = all(part and part not in (".", "..") and not part.startswith(("~", ".")) for part in parts)
    return len(parts) <= 2 and plain and "\\" not in name
