"""A small study's data, written as the study writes them, and a small model."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image


@dataclasses.dataclass(frozen=True)
class World:
    """A data folder with pictures, questions of `split`s, dev captions and a tokenizer."""

    folder: pathlib.Path
    questions: dict[str, list[dict]]
    captions: list[dict]


def question_line(question, scene, *, unseen: bool) -> dict:
    return {
        "id": question.id,
        "scene": scene.seed,
        "split": scene.split,
        "video": f"pictures/{scene.split}-{scene.seed}.png",
        "unseen": unseen,
        "aspect": question.aspect,
        "form": question.form,
        "text": question.text,
        "options": list(question.options),
        "answer": question.answer,
        "claims": [[list(pair) for pair in claim.tells] for claim in question.claims],
    }


def make_world(folder: pathlib.Path, *, scenes: dict[str, int], vocab: int = 640) -> World:
    from sg4v_jax.text.tokenizer import train_byte_bpe
    from sg4v_jax.video.grid import make_grid
    from sg4v_jax.world.aspects import captions, questions, render
    from sg4v_jax.world.aspects.facts import truth
    from sg4v_jax.world.aspects.scene import WorldSettings, held_out, sample_scene

    settings, rng = WorldSettings(), np.random.default_rng(0)
    for name in ("pictures", "questions", "captions"):
        (folder / name).mkdir(parents=True)
    asked, told, texts = {}, [], []
    for split, count in scenes.items():
        lines = asked[split] = []
        for seed in range(count):
            scene = sample_scene(seed, split=split, settings=settings)
            frames = render.render(scene, canvas=24, frames=16)
            grid = make_grid(frames, band=0, longest_side=None)
            Image.fromarray(grid).save(folder / "pictures" / f"{split}-{seed}.png")
            unseen = any(
                held_out(scene.thing.shape, scene.thing.colour, e.kind) for e in scene.events
            )
            for aspect in questions.ASPECTS:
                for form in ("choice", "yesno", "matching"):
                    one = questions.ask(scene, rng, aspect=aspect, form=form, settings=settings)
                    if one is not None:
                        lines.append(question_line(one, scene, unseen=unseen))
            if split == "dev":
                name = f"dev-{seed}"
                caption = captions.detailed(truth(scene), rng)
                told.append({"id": name, "video": f"pictures/{name}.png", "caption": caption})
        texts += [x for line in lines for x in (line["text"], *line["options"])]
        write(folder / "questions" / f"{split}.jsonl", lines)
    write(folder / "captions" / "dev.jsonl", told)
    every = [sample_scene(n, split="train", settings=settings) for n in range(300)]
    texts += [captions.detailed(truth(s), rng, use=use) for s in every for use in captions.WORDINGS]
    train_byte_bpe(texts, vocab_size=vocab).save(folder / "tokenizer.json")
    return World(folder, asked, told)


def write(path: pathlib.Path, lines: list[dict]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    return make_world(
        tmp_path_factory.mktemp("world") / "data", scenes=dict(train=24, dev=10, test=4)
    )


def study_config(
    *, image: int = 96, width: int = 16, layers: int = 2, heads: int = 2, tower: int = 2
):
    """The study's geometry, of any width: 64 patches of a grid, or 4 of a frame of 24 pixels."""
    from sg4v_jax.models.video_lm import PRESETS

    base = PRESETS["sg4v-test"]()
    vision = dataclasses.replace(
        base.tower,
        image_size=image,
        patch_size=12,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=tower,
        num_attention_heads=heads,
    )
    llm = dataclasses.replace(
        base.llm,
        vocab_size=640,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=width // heads,
    )
    return dataclasses.replace(base, tower=vision, llm=llm)


def settings_of(world: World, config):
    from sg4v_jax.data.inputs import InputSpec
    from sg4v_jax.text.tokenizer import Tokenizer
    from sg4v_jax.weights.store import ModelSettings, anyres_of

    inputs = InputSpec(
        anyres=anyres_of(config),
        visual="overview",
        frames=16,
        band=0,
        longest_side=0,
        template="llama_3_bare",
        preamble="",
    )
    return ModelSettings(config, inputs, Tokenizer.from_file(str(world.folder / "tokenizer.json")))


def random_model(world: World, *, config=None, seed: int = 0, scale: float = 4.0):
    """Settings and parameters; larger ones than at the start of a training, so that scores differ."""
    from sg4v_jax.models.params import flatten
    from sg4v_jax.models.video_lm import VideoLM

    settings = settings_of(world, config or study_config())
    flat = flatten(jax.jit(lambda k: VideoLM(settings.config, key=k))(jax.random.key(seed)))
    return settings, {path: x * scale if "kernel" in path else x for path, x in flat.items()}


@pytest.fixture(scope="session")
def model(world):
    return random_model(world)
