"""Checkpoints by hub id: fetched through huggingface_hub, pinned and cached by it."""

from __future__ import annotations

import logging
import re

from sg4v_jax.errors import CheckpointError

# Everything that a conversion reads; never code, never another framework's weights.
WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja")
TORCH = ("*.bin", "*.bin.index.json")


def is_id(name: str) -> bool:
    """Whether `name` looks like a hub id, ORG/NAME, and not like a path."""
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name))


def fetch(name: str, *, revision: str | None = None) -> str:
    """The local folder of a hub repository's files, fetched where they are not in the cache.

    Args:
      name: ORG/NAME.
      revision: a commit, tag or branch; a whole commit hash pins the files for good.

    With the environment's HF_HUB_OFFLINE=1 only the cache is read; HF_ENDPOINT names another
    server; HF_HOME moves the cache.

    Raises:
      CheckpointError: no such repository or revision, no network, or not in the cache; says which
        files to put where instead.
    """
    import huggingface_hub  # its settings come from the environment at import
    from huggingface_hub.utils import logging as hub_logging

    # It logs each of its retries; what came of them is said below, once.
    hub_logging.set_verbosity(logging.CRITICAL)
    reason, patterns = None, [*WANTED, *TORCH]
    try:
        found = _listed(name, revision)
        if any(file.endswith(".safetensors") for file in found):
            patterns = list(WANTED)  # torch's files, if any, hold the same numbers
    except Exception as e:  # noqa: BLE001  no network and no such repository: many types
        reason = e
    try:
        return huggingface_hub.snapshot_download(
            name,
            revision=revision,
            allow_patterns=patterns,
            local_files_only=reason is not None,
        )
    except Exception as e:
        raise _unfetched(name, revision, reason or e) from e


def _listed(name: str, revision: str | None) -> list[str]:
    """The files of a repository; raises whatever the hub's library raises."""
    import huggingface_hub

    return huggingface_hub.list_repo_files(name, revision=revision)


def _unfetched(name: str, revision: str | None, reason: Exception) -> CheckpointError:
    from huggingface_hub import constants

    at = f" at revision {revision}" if revision else ""
    text = " ".join(str(reason).split())[:300]
    return CheckpointError(
        f"{name}{at} is no folder here and cannot be fetched from the hub ({type(reason).__name__}: {text})",
        mend="on a machine with a network, get config.json, tokenizer.json, "
        "tokenizer_config.json, preprocessor_config.json and every *.safetensors file with "
        f"their index from {constants.ENDPOINT}/{name}, put them into one folder, and give that folder",
    )
