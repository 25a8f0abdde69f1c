"""A BERT sentence encoder in numpy: short captions, forward only, on the host beside the filter.

Axes: `B` texts, `S` tokens, `D` width, `N` heads, `H` head width.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import safetensors
import safetensors.numpy
from scipy import special
from tokenizers import Tokenizer

from sg4v_jax import files
from sg4v_jax.caption.encoders import unit
from sg4v_jax.errors import CheckpointError, RecordError

_TOKENS_AT_ONCE = 4096  # keeps the activations of a batch in tens of megabytes
_POOLINGS = ("cls", "mean")


class BertEncoder:
    """Vectors from the last layer of a BERT folder in the Hugging Face layout.

    Args:
      folder: holds config.json, tokenizer.json and model.safetensors.
      pooling: "cls" takes the class token, "mean" the mean of all tokens.
      threshold: see `Encoder`.

    Raises:
      CheckpointError: a file is missing or is not of such a model; names the file and tensor.
    """

    def __init__(self, folder: str | os.PathLike, *, pooling: str, threshold: float):
        if pooling not in _POOLINGS:
            raise CheckpointError(f"pooling {pooling!r}", mend=f"use one of {_POOLINGS}")
        self.name = f"bert-{pooling}:{os.path.basename(os.path.normpath(folder))}"
        self.threshold, self.pooling = threshold, pooling
        self._folder = os.fspath(folder)
        self._config = self._read_config()
        self._tokenizer = self._read_tokenizer()
        self._weights = self._read_weights()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """f32[n,D], rows of length 1. Longer texts are cut at the model's number of positions.

        Texts of one token count go together without padding, so a row does not depend on the
        others but for the rounding of sums.
        """
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        width = self._config["hidden_size"]
        vectors = np.zeros((len(texts), width), np.float32)
        for length in sorted({len(row) for row in ids}):
            members = [i for i, row in enumerate(ids) if len(row) == length]
            step = max(1, _TOKENS_AT_ONCE // max(1, length))
            for start in range(0, len(members), step):
                part = members[start : start + step]
                states = self._forward(np.array([ids[i] for i in part]))
                vectors[part] = states[:, 0] if self.pooling == "cls" else states.mean(axis=1)
        return unit(vectors)

    def _forward(self, ids: np.ndarray) -> np.ndarray:
        """i64[B,S] -> f32[B,S,D]: post-norm layers (Devlin et al., 2019)."""
        w, prefix = self._weights, "embeddings."
        x = w[prefix + "word_embeddings.weight"][ids]
        x = x + w[prefix + "position_embeddings.weight"][: ids.shape[1]]
        x = x + w[prefix + "token_type_embeddings.weight"][0]
        x = self._norm(x, prefix + "LayerNorm")
        for number in range(self._config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}."
            mixed = self._attend(x, layer + "attention.self.")
            mixed = self._dense(mixed, layer + "attention.output.dense")
            x = self._norm(x + mixed, layer + "attention.output.LayerNorm")
            hidden = self._dense(x, layer + "intermediate.dense")
            hidden = hidden * special.ndtr(hidden)  # GELU with the exact normal distribution
            x = self._norm(
                x + self._dense(hidden, layer + "output.dense"), layer + "output.LayerNorm"
            )
        return x

    def _attend(self, x: np.ndarray, prefix: str) -> np.ndarray:
        batch, length, width = x.shape
        heads = self._config["num_attention_heads"]
        q, k, v = (
            self._dense(x, prefix + name).reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)
            for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(np.float32(width // heads))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return (scores @ v).transpose(0, 2, 1, 3).reshape(batch, length, width)

    def _dense(self, x: np.ndarray, name: str) -> np.ndarray:
        flat = x.reshape(-1, x.shape[-1])  # one large product instead of one for each text
        out = flat @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return out.reshape(*x.shape[:-1], -1)

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + self._config["layer_norm_eps"])
        return x * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]

    def _read_config(self) -> Mapping:
        name = os.path.join(self._folder, "config.json")
        try:
            config = files.read_json(name)
        except RecordError as e:
            raise CheckpointError(e.message, mend="give the folder of a BERT model") from e
        needed = {
            "hidden_size": int,
            "num_hidden_layers": int,
            "num_attention_heads": int,
            "max_position_embeddings": int,
            "layer_norm_eps": float,
        }
        for field, kind in needed.items():
            if not isinstance(config.get(field), kind):
                raise CheckpointError(f"{name}: field {field!r} is {config.get(field)!r}")
        fixed = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
        for field, value in fixed.items():
            if config.get(field, value) != value:
                raise CheckpointError(
                    f"{name}: {field} is {config[field]!r}", mend=f"use a model with {value!r}"
                )
        return config

    def _read_tokenizer(self) -> Tokenizer:
        name = os.path.join(self._folder, "tokenizer.json")
        try:
            tokenizer = Tokenizer.from_file(name)
        except Exception as e:  # the library raises nothing narrower
            raise CheckpointError(
                f"{name}: cannot be read as a tokenizer ({e})",
                mend="give a folder with tokenizer.json; transformers' fast tokenizers save one",
            ) from e
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._config["max_position_embeddings"])
        return tokenizer

    def _read_weights(self) -> dict[str, np.ndarray]:
        name = os.path.join(self._folder, "model.safetensors")
        try:
            tensors = safetensors.numpy.load_file(name)
        except (OSError, TypeError, safetensors.SafetensorError) as e:
            raise CheckpointError(
                f"{name}: cannot be read ({e})", mend="give a folder with model.safetensors in f32"
            ) from e
        # Models saved with their training heads keep the encoder under `bert.`.
        bare = {n.removeprefix("bert."): t.astype(np.float32) for n, t in tensors.items()}
        shapes = _shapes(self._config, vocabulary=self._tokenizer.get_vocab_size())
        for tensor, shape in shapes.items():
            found = bare[tensor].shape if tensor in bare else None
            if found != shape and not (
                tensor.endswith("word_embeddings.weight")
                and found
                and found[0] >= shape[0]
                and found[1:] == shape[1:]
            ):
                raise CheckpointError(
                    f"{name}: tensor {tensor!r} has shape {found}, not {shape}",
                    mend="give weights that fit config.json",
                )
        return {tensor: bare[tensor] for tensor in shapes}


def _shapes(config: Mapping, *, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that the forward pass reads."""
    width = config["hidden_size"]
    inner = config.get("intermediate_size")
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocabulary, width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config.get("type_vocab_size", 2), width),
    }
    norms, denses = ["embeddings.LayerNorm"], {}
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}."
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
        denses |= {layer + f"attention.self.{n}": (width, width) for n in ("query", "key", "value")}
        denses[layer + "attention.output.dense"] = (width, width)
        denses[layer + "intermediate.dense"] = (inner, width)
        denses[layer + "output.dense"] = (width, inner)
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    for name, (outputs, inputs) in denses.items():
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return shapes
