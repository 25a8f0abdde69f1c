"""The numpy BERT equals transformers' on tiny random weights; folders that are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sg4v_jax.caption.bert import BertEncoder, _shapes
from sg4v_jax.errors import CheckpointError

CONFIG = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "vocab_size": 30,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(26))]
TEXTS = ["w1 w2 w3", "w3", "w9 w8 w7 w6 w5", "w1 w2 w4", "", " ".join(["w2"] * 40)]


@pytest.fixture
def folder(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    rng = np.random.default_rng(0)
    tensors = {
        f"bert.{name}": (rng.standard_normal(shape) / 2).astype(np.float32)
        for name, shape in _shapes(CONFIG, vocabulary=30).items()
    }
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


@pytest.mark.torch
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_equals_transformers(folder, pooling):
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    transformers = pytest.importorskip("transformers", reason="needs the extra [torch]")
    encoder = BertEncoder(folder, pooling=pooling, threshold=0.9)
    model = transformers.BertModel(transformers.BertConfig(**CONFIG), add_pooling_layer=False)
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    state = {n.removeprefix("bert."): torch.from_numpy(t) for n, t in tensors.items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert not [n for n in missing.missing_keys if "position_ids" not in n]
    for text, row in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        ids = [2, *(WORDS.index(w) for w in text.split())][:15] + [3]
        with torch.no_grad():
            states = model.eval()(torch.tensor([ids])).last_hidden_state[0]
        wanted = (states[0] if pooling == "cls" else states.mean(0)).numpy()
        np.testing.assert_allclose(row, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_rows_do_not_depend_on_the_others(folder):
    encoder = BertEncoder(folder, pooling="mean", threshold=0.9)
    together = encoder.encode(TEXTS)
    for number, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode([text])[0], together[number], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, 32)


def change(folder, **fields):
    (folder / "config.json").write_text(json.dumps(CONFIG | fields))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), r"config\.json: no such file"),
        (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json: cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), r"safetensors: cannot be read"),
        (lambda f: change(f, num_hidden_layers=4), r"'encoder\.layer\.3\..* has shape None"),
        (lambda f: change(f, hidden_act="gelu_new"), "hidden_act is 'gelu_new'"),
        (lambda f: change(f, layer_norm_eps=None), "field 'layer_norm_eps' is None"),
    ],
)
def test_folders_that_hold_no_such_model(folder, spoil, message):
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        BertEncoder(folder, pooling="cls", threshold=0.9)
