"""A small study's data, written as the study writes them, and a small model."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import jax
import pytest

from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.models.params import flatten
from sg4v_jax.models.video_lm import PRESETS, VideoLM, VideoLMConfig
from sg4v_jax.study import pictures, records
from sg4v_jax.text.tokenizer import Tokenizer, train_byte_bpe
from sg4v_jax.weights.store import ModelSettings, anyres_of
from sg4v_jax.world.aspects.scene import Scene, WorldSettings, sample_scene

WORLD, CANVAS = WorldSettings(), 24


def scenes_of(split: str, *, count: int) -> list[Scene]:
    return [sample_scene(n, split=split, settings=WORLD) for n in range(count)]


def make_data(folder: pathlib.Path, *, counts: dict[str, int], vocab: int = 512) -> pathlib.Path:
    """A data folder: pictures and frames, questions of each split, dev captions, a tokenizer."""
    texts = []
    for split, count in counts.items():
        scenes = scenes_of(split, count=count)
        pictures.write_clips(folder, scenes, frames=True, canvas=CANVAS)
        asked = records.asked(scenes, settings=WORLD)
        texts += [text for line in asked for text in (line["text"], *line["options"])]
        write_lines(folder / "questions" / f"{split}.jsonl", asked)
    pictures.write_png(folder / pictures.BLANK_FILE, pictures.blank(side=4 * CANVAS))
    told = records.dev_captions(scenes_of("dev", count=counts["dev"]))
    write_lines(folder / "captions" / "dev.jsonl", told)
    known = records.dev_captions(scenes_of("train", count=300))
    train_byte_bpe([*texts, *(line["caption"] for line in known)], vocab_size=vocab).save(
        folder / "tokenizer.json"
    )
    return folder


def write_lines(path: pathlib.Path, lines: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("study") / "data"
    return make_data(folder, counts=dict(train=44, dev=10))


def study_config(
    *,
    image: int = 96,
    patch: int = 24,
    width: int = 16,
    heads: int = 2,
    tower: int = 2,
    layers: int = 2,
) -> VideoLMConfig:
    """The study's geometry at any width: a grid of 96 pixels, or a frame of 24, in one tile."""
    base = PRESETS["sg4v-study"]()
    vision = dataclasses.replace(
        base.tower,
        image_size=image,
        patch_size=patch,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=tower,
        num_attention_heads=heads,
    )
    llm = dataclasses.replace(
        base.llm,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=width // heads,
    )
    return dataclasses.replace(base, tower=vision, llm=llm)


def random_model(data: pathlib.Path, *, config: VideoLMConfig, seed: int = 0, scale: float = 2.0):
    """Settings and parameters; matrices so large that videos and questions matter to the scores."""
    inputs = InputSpec(
        anyres=anyres_of(config),
        visual="overview",
        frames=16,
        band=0,
        longest_side=0,
        template="llama_3_bare",
        preamble="",
    )
    settings = ModelSettings(config, inputs, Tokenizer.from_file(data / "tokenizer.json"))
    flat = flatten(jax.jit(lambda key: VideoLM(config, key=key))(jax.random.key(seed)))
    return settings, {path: x * scale if "kernel" in path else x for path, x in flat.items()}
