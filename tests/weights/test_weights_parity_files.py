"""Logits and greedy text of torch models and ours, each loading the same files from disk.

Three ways in: layout llava (torch's side renames the released names by string rules of its own),
layout hf (transformers reads the folder), and a peft adapter with its base (peft merges nothing).
"""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.packing import Budget
from sg4v_jax.infer import generate
from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.models.clip import normalise
from sg4v_jax.text.chat import Turn
from sg4v_jax.video import anyres
from sg4v_jax.weights import assemble, export_model, import_model, orbax_params, store

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

LONG = (1920, 1920)  # (width, height): nothing to unpad, so 576 + 48 x 49 visual tokens
ANYRES = [(640, 480), (480, 640), (960, 200)]
NEW = 64


@pytest.fixture(autouse=True)
def exact_matmuls():
    torch.set_num_threads(1)
    with jax.default_matmul_precision("highest"):
        yield


def hf_model(folder):
    return transformers.LlavaNextForConditionalGeneration.from_pretrained(folder).eval()


def from_llava_names(folder, like):
    """A transformers model with the tensors of a llava folder, renamed by rules written here."""
    from safetensors.torch import load_file

    rules = [
        ("model.vision_tower.vision_tower.vision_model.", "model.vision_tower."),
        ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
        ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
        ("model.image_newline", "model.image_newline"),
        ("lm_head.", "lm_head."),
        ("model.", "model.language_model."),
    ]
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    state = {}
    for shard in sorted(set(index.values())):
        for name, tensor in load_file(folder / shard).items():
            old, new = next(rule for rule in rules if name.startswith(rule[0]))
            state[new + name[len(old) :]] = tensor
    model = transformers.LlavaNextForConditionalGeneration(like.config).eval()
    model.load_state_dict(state, strict=True)
    return model


def adapted(base, folder):
    """`base` with a random peft adapter on the decoder, saved to `folder`; not merged."""
    peft = pytest.importorskip("peft")
    pattern = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    config = peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=pattern)
    model = peft.get_peft_model(base, config).eval()
    generator = torch.Generator().manual_seed(5)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data = 0.2 * torch.randn(p.shape, generator=generator)
        if "multi_modal_projector" in name:
            p.data = p.data + 0.05 * torch.randn(p.shape, generator=generator)
    model.save_pretrained(folder)
    others = {n: p for n, p in model.named_parameters() if "multi_modal_projector" in n}
    torch.save(others, folder / "non_lora_trainables.bin")
    return model


@pytest.fixture(scope="module", params=["llava", "hf", "lora"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def pair(kind, random_model, tmp_path_factory):
    """(torch model, our engine), both from files: 6 x 6 patches a tile."""
    return load_both(kind, random_model(), tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def long_pair(kind, random_model, tmp_path_factory):
    """The same with 24 x 24 patches a tile, as the 8B model has."""
    return load_both(kind, random_model(side=96), tmp_path_factory.mktemp("long_pair"))


def load_both(kind, model, folder):
    model = export_model.with_image_token(model)[0]
    export_model.write(model, folder / "hf", layout="hf", shard_size="100KB")
    reference = hf_model(folder / "hf")
    source, base = folder / "hf", None
    if kind == "llava":
        source = folder / "llava"
        export_model.write(model, source, layout="llava", shard_size="100KB")
        reference = from_llava_names(source, reference)
    if kind == "lora":
        source, base = folder / "adapter", str(folder / "hf")
        reference = adapted(reference, source)
    loaded = assemble.model(assemble.Request(source=str(source), base=base))
    import_model.write(loaded, folder / "model")
    shutil.rmtree(source)  # what is loaded below comes from the import alone
    settings = store.load_settings(folder / "model")
    return reference, Engine(settings, orbax_params.load(folder / "model"))


def pixels(engine, tiles: np.ndarray):
    """u8[T,R,R,3] -> normalised torch f32[T,3,R,R]."""
    x = normalise(tiles, engine.settings.config.tower)
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


def picture(size, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)


def row(engine, sequence, tiles, *, start: int = 0) -> Batch:
    """One sample in a row of its own length; positions from `start` on."""
    inputs = engine.settings.inputs.anyres
    budget = Budget(positions=len(sequence.tokens), tiles=len(tiles), scored=1)
    placed = layout.Placed(sequence, tiles, 1.0)
    batch = layout.place([placed], budget=budget, side=inputs.side, patches=inputs.patches)
    batch = Batch(*(np.asarray(x)[None] for x in batch))
    return batch._replace(positions=batch.positions + start)


def image_token(engine) -> int:
    return engine.settings.tokenizer.id_of("<image>")


def torch_inputs(engine, sequence, pictures) -> dict:
    """What transformers takes for a laid-out sample with any-resolution pictures."""
    ids = np.where(sequence.visual_index == layout.TEXT, sequence.tokens, image_token(engine))
    inputs = {"input_ids": torch.from_numpy(ids[None].astype(np.int64))}
    if not pictures:
        return inputs
    spec = engine.settings.inputs.anyres
    cut = [anyres.make_tiles(p, spec) for p in pictures]
    most = max(map(len, cut))
    padded = torch.zeros(len(cut), most, 3, spec.side, spec.side)
    for i, tiles in enumerate(cut):
        padded[i, : len(tiles)] = pixels(engine, tiles)
    sizes = torch.tensor([p.shape[:2] for p in pictures])
    return inputs | {"pixel_values": padded, "image_sizes": sizes}


@jax.jit
def logits_of(model, batch):
    return model.llm.logits(model.hidden(batch, dtype=jnp.float32))


def sequence_of(engine, text: str, *, pictures=()):
    """A question laid out, and its tiles."""
    inputs = engine.settings.inputs
    sizes = [p.shape[1::-1] for p in pictures]
    turns = [Turn("user", "<image>\n" * len(pictures) + text)]
    tokenizer = engine.settings.tokenizer
    sequence, _ = inputs.sequence(turns, sizes=sizes, tokenizer=tokenizer, generation=True)
    empty = np.zeros((0, inputs.anyres.side, inputs.anyres.side, 3), np.uint8)
    return sequence, np.concatenate([empty, *(inputs.tiles(p) for p in pictures)])


@pytest.mark.slow
def test_logits_of_3000_tokens(long_pair):
    reference, engine = long_pair
    pictures = [picture(LONG)]
    text = "What happens in the video? " * 40
    sequence, tiles = sequence_of(engine, text, pictures=pictures)
    assert len(sequence.tokens) > 3000 and len(tiles) == 5
    ours = np.asarray(logits_of(engine._model, row(engine, sequence, tiles)))[0]
    with torch.no_grad():
        theirs = reference(**torch_inputs(engine, sequence, pictures)).logits[0].numpy()
    assert np.abs(theirs).max() > 1
    assert np.abs(ours - theirs).max() < 1e-4


def test_logits_at_the_last_positions(pair):
    reference, engine = pair
    sequence, tiles = sequence_of(engine, "A red ball rolls to the left and stops.")
    start = engine.settings.config.llm.max_position_embeddings - len(sequence.tokens)
    batch = row(engine, sequence, tiles, start=start)
    assert batch.positions.max() == 8191
    ours = np.asarray(logits_of(engine._model, batch))[0]
    with torch.no_grad():
        theirs = (
            reference(
                **torch_inputs(engine, sequence, ()),
                position_ids=torch.from_numpy(batch.positions.astype(np.int64)),
            )
            .logits[0]
            .numpy()
        )
    assert np.abs(ours - theirs).max() < 1e-4


def prompts() -> list[tuple[str, list[np.ndarray], str]]:
    """20 of them: (text, pictures, how they are seen)."""
    found = []
    for i in range(5):
        found.append((f"What happens {i}?" * (i + 1), [], "anyres"))
        found.append((f"Where is ball {i}?", [picture((60 + 40 * i, 50), seed=i)], "overview"))
        found.append((f"Which way {i}?", [picture(ANYRES[i % 3], seed=i)], "anyres"))
        two = [picture(ANYRES[i % 3], seed=i), picture(ANYRES[(i + 1) % 3], seed=9 + i)]
        found.append((f"Do they differ {i}?", two, "anyres"))
    return found


def our_greedy(engine, requests: list[Request]) -> np.ndarray:
    """i32[n,NEW], the prompts in one batch of mixed lengths; nothing ends an answer."""
    samples = [engine.lay_out(r, max_new_tokens=NEW) for r in requests]
    batch = engine.collate(samples, max_new_tokens=NEW, rows=len(samples)).batch
    state = generate.prefill(
        engine._model, batch, slots=batch.tokens.shape[1] + NEW, dtype=jnp.float32
    )
    tokens = jax.jit(generate.decode, static_argnames=("eos", "greedy", "dtype"))(
        engine._model,
        state,
        key=jax.random.key(0),
        eos=(-1,),
        greedy=True,
        temperature=jnp.float32(1),
        top_p=jnp.float32(1),
        dtype=jnp.float32,
    )
    return np.asarray(tokens)[: len(requests)]


def torch_greedy(reference, engine, text, pictures, visual) -> np.ndarray:
    kwargs = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    settings = engine.settings
    seen = dataclasses.replace(settings.inputs, visual=visual)
    one = Engine.__new__(Engine)
    one.settings = dataclasses.replace(settings, inputs=seen)
    sequence, _ = sequence_of(one, text, pictures=pictures)
    with torch.no_grad():
        if visual == "anyres":
            inputs = torch_inputs(engine, sequence, pictures)
            said = reference.generate(**inputs, **kwargs)[0, inputs["input_ids"].shape[1] :]
            return said.numpy()
        # transformers has no overview without newline: put together by hand.
        inner = getattr(reference, "get_base_model", lambda: reference)().model
        spec = settings.inputs.anyres
        tiles = np.concatenate([anyres.overview_tile(p, spec) for p in pictures])
        states = inner.vision_tower(pixels(engine, tiles), output_hidden_states=True).hidden_states
        features = inner.multi_modal_projector(states[-2][:, 1:])
        ids = torch_inputs(engine, sequence, ())["input_ids"]
        x = inner.get_input_embeddings()(ids)
        x[ids == image_token(engine)] = features.flatten(0, 1)
        return reference.generate(inputs_embeds=x, **kwargs)[0].numpy()


@pytest.mark.slow
def test_greedy_continuations_of_20_prompts(pair):
    reference, engine = pair
    asked = prompts()
    assert len(asked) == 20
    for visual in ("anyres", "overview"):
        chosen = [(text, pictures) for text, pictures, how in asked if how == visual]
        inputs = dataclasses.replace(engine.settings.inputs, visual=visual)
        engine.settings = dataclasses.replace(engine.settings, inputs=inputs)
        requests = [Request([Turn("user", "<image>\n" * len(p) + text)], p) for text, p in chosen]
        ours = our_greedy(engine, requests)
        for (text, pictures), said in zip(chosen, ours, strict=True):
            theirs = torch_greedy(reference, engine, text, pictures, visual)
            np.testing.assert_array_equal(said, theirs, err_msg=f"{visual}: {text}")
