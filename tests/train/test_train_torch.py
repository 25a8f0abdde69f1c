"""Training as torch does it: accumulation under both norms, and LoRA steps as peft takes them.

The reference is the same tiny model out of `transformers` parts. Its samples are not packed: each
micro-batch is padded on the right.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sg4v_jax.data import layout, packing
from sg4v_jax.models import lora
from sg4v_jax.models.clip import normalise
from sg4v_jax.models.params import skeleton
from sg4v_jax.train import optim, state
from sg4v_jax.train.losses import next_token_loss
from sg4v_jax.train.modes import mode_rules
from sg4v_jax.train.step import make_step
from sg4v_jax.weights import table, video_lm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

LAYOUT = "hf-v5-state-dict"
SEED, EPOCH, GROUP = 4, 1, 4  # micro-batches of four samples


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture
def reference(tiny_model):
    """A torch model with the tiny model's weights; a new one for each test, since some train it."""
    tower, llm = tiny_model.config.tower, tiny_model.config.llm
    shared = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    vision = {name: getattr(tower, name) for name in (*shared, "image_size", "patch_size")}
    text = {name: getattr(llm, name) for name in (*shared, "num_key_value_heads", "head_dim")}
    torch.set_num_threads(1)
    model = transformers.LlavaNextForConditionalGeneration(
        transformers.LlavaNextConfig(
            vision_config=transformers.CLIPVisionConfig(
                **vision, layer_norm_eps=tower.layer_norm_eps, hidden_act=tower.hidden_act
            ),
            text_config=transformers.LlamaConfig(
                **text,
                vocab_size=llm.vocab_size,
                rope_parameters={"rope_type": "default", "rope_theta": llm.rope_theta},
                rms_norm_eps=llm.rms_norm_eps,
                tie_word_embeddings=llm.tie_word_embeddings,
            ),
            vision_feature_layer=tower.feature_layer,
        )
    )
    weights = video_lm.table(tiny_model.config, layout=LAYOUT)
    tensors = table.to_torch(tiny_model.params, weights, tiny_model.skeleton)
    model.load_state_dict({n: torch.tensor(x) for n, x in tensors.items()})
    return model.train()


def embed(model, config, sample: layout.Placed):
    """Decoder inputs [S,D] of one sample, put together by hand."""
    inner, sequence = model.model, sample.sequence
    pixels = np.asarray(normalise(sample.tiles, config.tower)).transpose(0, 3, 1, 2)
    states = inner.vision_tower(torch.tensor(pixels), output_hidden_states=True).hidden_states
    features = inner.multi_modal_projector(states[config.tower.feature_layer][:, 1:]).flatten(0, 1)
    visual = torch.cat([features, inner.image_newline[None]])
    index = np.where(sequence.visual_index == layout.SEPARATOR, -1, sequence.visual_index)
    shown = torch.tensor(sequence.visual_index != layout.TEXT)
    x = model.get_input_embeddings()(torch.tensor(sequence.tokens))
    return torch.where(shown[:, None], visual[torch.tensor(index)], x)


def nll_sum(model, config, samples: list[layout.Placed]):
    """Summed negative log-likelihood of one padded micro-batch."""
    rows = [embed(model, config, s) for s in samples]
    x = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.tensor([[i < len(r) for i in range(x.shape[1])] for r in rows]).long()
    hidden = model.model.language_model(inputs_embeds=x, attention_mask=mask).last_hidden_state
    total = 0.0
    for states, sample in zip(hidden, samples, strict=True):
        logits = model.lm_head(states[torch.tensor(sample.sequence.loss_index).long()])
        targets = torch.tensor(sample.sequence.targets).long()
        total = total + torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    return total


def scored(samples: list[layout.Placed]) -> int:
    return sum(len(s.sequence.targets) for s in samples)


def by_path(named, tiny_model) -> dict[str, np.ndarray]:
    """torch tensors by name -> ours by path; peft's own names are taken back, its branches out."""
    plain = {n.replace(".base_layer", ""): t for n, t in named.items() if "lora_" not in n}
    arrays = {n: t.detach().numpy() for n, t in plain.items()}
    weights = video_lm.table(tiny_model.config, layout=LAYOUT)
    return table.to_ours(arrays, weights, tiny_model.skeleton)


def loss(model, batch, key):
    return next_token_loss(model, batch, dtype=jnp.float32, remat="none", key=key)


def rows_of(tiny_model, samples: list[layout.Placed], *, norm: str, parts: int):
    """Packed rows [parts, B/parts, ...] in the plan's order, with the plan's weights."""
    lengths = np.array([[len(s.sequence.tokens), len(s.tiles), scored([s])] for s in samples])
    plan = packing.plan(
        lengths, budget=tiny_model.budget, seed=SEED, epoch=EPOCH, norm=norm, microbatch=GROUP
    )
    weighed = [s._replace(weight=float(w)) for s, w in zip(samples, plan.weights, strict=True)]
    assert len(plan.rows) % parts == 0 and len(plan.rows) < len(samples), "packed, and even parts"
    batch = tiny_model.batch(*([weighed[i] for i in row] for row in plan.rows))
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)


# Its state after a step is the step's gradient, before any rate.
GRADIENT = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda grads, _, params: (jax.tree.map(jnp.zeros_like, grads), grads),
)


@pytest.mark.parametrize("norm", ["token", "microbatch"])
def test_accumulation_is_torchs(tiny_model, reference, norm):
    """Eight samples: two micro-batches of four in torch, two of two packed rows here."""
    samples = [tiny_model.sample(i, tiles=2, text=13 + i, scored=1 + i * i % 12) for i in range(8)]
    order = np.random.default_rng([SEED, EPOCH]).permutation(8)  # the plan's, by its docstring
    groups = [[samples[i] for i in order[:GROUP]], [samples[i] for i in order[GROUP:]]]
    want = 0.0
    for group in groups:
        count = scored(samples) if norm == "token" else len(groups) * scored(group)
        part = nll_sum(reference, tiny_model.config, group) / count
        part.backward()
        want += part.item()
    zero = lambda p: torch.zeros_like(p) if p.grad is None else p.grad
    want_gradient = by_path({n: zero(p) for n, p in reference.named_parameters()}, tiny_model)

    shape = tiny_model.skeleton
    paths = dict.fromkeys(shape.shapes, "all")
    step = jax.jit(
        make_step(loss, skeleton=shape, optimizer=GRADIENT, accumulate=2),
        compiler_options=tiny_model.quick,
    )
    start = state.create(tiny_model.params, groups=paths, optimizer=GRADIENT)
    batch = rows_of(tiny_model, samples, norm=norm, parts=2)
    new, metrics = step(start, batch, jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"], want, rtol=1e-5)
    assert max(np.abs(g).max() for g in want_gradient.values()) > 0.1
    for path, gradient in want_gradient.items():
        np.testing.assert_allclose(new.slots[path], gradient, atol=1e-5, rtol=1e-5, err_msg=path)


STEPS, WARMUP, SCHEDULED = 6, 2, 9
RATES = {"llm": 2e-4, "projector": 2e-5, "tower": 2e-6}
LORA = lora.LoRA(rank=4, alpha=8.0, dropout=0.0, targets=("llm",))


def attached(tiny_model):
    """The tiny model with branches: its skeleton, and parameters with a `lora_b` that is not 0."""
    shape = skeleton(lambda k: lora.attach(tiny_model.build(k), LORA, key=k))
    rng = np.random.default_rng(1)
    branches = {
        path: 0.3 * rng.standard_normal(spec.shape, np.float32)
        for path, spec in shape.shapes.items()
        if lora.is_lora(path)
    }
    return shape, {path: {**tiny_model.params, **branches}[path] for path in shape.shapes}


def torch_branch(model, path: str, layer: int):
    """peft's tensor of one layer of our `lora_a` or `lora_b`."""
    linear, _, part = path.removeprefix("llm.layers.").rpartition(".")
    module = model.model.language_model.layers[layer].get_submodule(linear)
    return getattr(module, {"lora_a": "lora_A", "lora_b": "lora_B"}[part])["default"].weight


def as_torch(path: str, layer: np.ndarray) -> np.ndarray:
    """[*I,r] -> [r,I]; [r,*O] -> [O,r]."""
    if path.endswith("lora_a"):
        return layer.reshape(-1, LORA.rank).T
    return layer.reshape(LORA.rank, -1).T


def train_torch(model, config, steps: list[list[layout.Placed]]):
    """The original's optimizer: three rates, AdamW, clipping at 1, warm-up and cosine."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    part = lambda n: next((g for g in ("tower", "projector") if g in n), "llm")
    groups = [
        dict(params=[p for n, p in named if part(n) == group], lr=rate)
        for group, rate in RATES.items()
    ]
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule = transformers.get_cosine_schedule_with_warmup(adamw, WARMUP, SCHEDULED)
    losses = []
    for samples in steps:
        adamw.zero_grad()
        mean = nll_sum(model, config, samples) / scored(samples)
        mean.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        adamw.step()
        schedule.step()
        losses.append(mean.item())
    return losses


def train_ours(shape, flat, batches, *, options):
    groups = optim.assign(
        list(shape.shapes), mode_rules(llm="lora", tower="full", projector="full")
    )
    optimizer, _ = optim.build(
        {name: optim.Group(rate) for name, rate in RATES.items()},
        {p: g for p, g in groups.items() if g != optim.FROZEN},
        steps=SCHEDULED,
        warmup_ratio=WARMUP / SCHEDULED,
        schedule_name="cosine",
        floor=0.0,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip=1.0,
    )
    step = jax.jit(
        make_step(loss, skeleton=shape, optimizer=optimizer, accumulate=1),
        compiler_options=options,
    )
    current, losses = state.create(flat, groups=groups, optimizer=optimizer), []
    for batch in batches:
        current, metrics = step(current, batch, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    return current, losses


def test_steps_of_the_lora_recipe_are_pefts(tiny_model, reference):
    """LoRA at 2e-4, projector at 2e-5 and an unlocked tower at 2e-6, through warm-up and cosine."""
    peft = pytest.importorskip("peft", reason="needs peft: pip install peft")
    shape, flat = attached(tiny_model)
    # Peft matches whole names: language_model, since CLIP has a q_proj too.
    names = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    peft.get_peft_model(
        reference,
        peft.LoraConfig(
            r=LORA.rank, lora_alpha=LORA.alpha, lora_dropout=0.0, target_modules=names, bias="none"
        ),
    )
    layers = range(tiny_model.config.llm.num_hidden_layers)
    branches = [(path, i) for path in flat if lora.is_lora(path) for i in layers]
    for path, i in branches:
        torch_branch(reference, path, i).data = torch.tensor(as_torch(path, flat[path][i]).copy())
    for name, parameter in reference.named_parameters():
        if "vision_tower" in name or "projector" in name:
            parameter.requires_grad = True
    assert sum(p.requires_grad for p in reference.parameters() if p.shape[0] == LORA.rank) == 14

    steps = [
        [tiny_model.sample(10 * s + i, tiles=2, text=14 + i, scored=4 + i) for i in range(4)]
        for s in range(STEPS)
    ]
    want_losses = train_torch(reference, tiny_model.config, steps)
    batches = [rows_of(tiny_model, s, norm="token", parts=1) for s in steps]
    batches = [jax.tree.map(lambda x: x[0], b) for b in batches]
    new, losses = train_ours(shape, flat, batches, options=tiny_model.quick)
    np.testing.assert_allclose(losses, want_losses, rtol=1e-5)

    want = by_path(dict(reference.named_parameters()), tiny_model)
    params = new.params()
    for path, value in want.items():
        np.testing.assert_allclose(params[path], value, atol=1e-5, err_msg=path)
        assert_same_way(params[path] - flat[path], value - flat[path], path=path)
    for path, i in branches:
        value = torch_branch(reference, path, i).detach().numpy()
        got, start = as_torch(path, np.asarray(params[path][i])), as_torch(path, flat[path][i])
        np.testing.assert_allclose(got, value, atol=1e-5, err_msg=path)
        assert_same_way(got - start, value - start, path=path)
        assert np.abs(value - start).max() > 2e-4, path


def assert_same_way(moved: np.ndarray, want: np.ndarray, *, path: str) -> None:
    """The tolerance of 1e-5 alone would let the tower's small steps go wrong."""
    if path.endswith("k_proj.bias"):  # no gradient but rounding, which Adam makes large
        return
    size = math.sqrt(np.square(want).sum())
    assert math.sqrt(np.square(moved - want).sum()) <= 0.02 * size, path
