"""The entry point of the group `lmms_eval.models`."""

from __future__ import annotations

import pathlib

TASKS = pathlib.Path(__file__).parent / "lmms_tasks"


def manifests() -> list:
    """The models that lmms-eval learns of: `sg4v`, and `sg4v_chat` for tasks in the form of chats.

    Called by lmms-eval; needs it.
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest(
            model_id="sg4v",
            simple_class_path="sg4v_jax.harness.model.Sg4v",
            aliases=("sharegpt4video_jax",),
        ),
        ModelManifest(model_id="sg4v_chat", chat_class_path="sg4v_jax.harness.model.Sg4vChat"),
    ]
