"""Names of Llama in Hugging Face checkpoints (`LlamaForCausalLM`).

Legend as in `table.py`. The rotary layout is the same half-split one on both sides, so q and k
need no permutation (Meta's own files, which are interleaved, would).
"""

from __future__ import annotations

from sg4v_jax.weights.table import LINEAR, MATRIX, MERGE_HEADS, SPLIT_HEADS, VECTOR, Table

_LAYER = {
    "input_layernorm.weight": ("input_layernorm.scale", VECTOR),
    "self_attn.q_proj.weight": ("self_attn.q_proj.kernel", SPLIT_HEADS),
    "self_attn.k_proj.weight": ("self_attn.k_proj.kernel", SPLIT_HEADS),
    "self_attn.v_proj.weight": ("self_attn.v_proj.kernel", SPLIT_HEADS),
    "self_attn.o_proj.weight": ("self_attn.o_proj.kernel", MERGE_HEADS),
    "post_attention_layernorm.weight": ("post_attention_layernorm.scale", VECTOR),
    "mlp.gate_proj.weight": ("mlp.gate_proj.kernel", LINEAR),
    "mlp.up_proj.weight": ("mlp.up_proj.kernel", LINEAR),
    "mlp.down_proj.weight": ("mlp.down_proj.kernel", LINEAR),
}


def table(
    *, tied: bool, prefix: str = "model.", head: str = "lm_head.weight", at: str = ""
) -> Table:
    """The decoder's table.

    Args:
      tied: `LlamaConfig.tie_word_embeddings`. A tied model has no head of its own; a file may
        repeat the embedding under the head's name, and then the two must be equal.
      prefix: what stands before every torch name but the head's.
      head: the torch name of the vocabulary head.
      at: what stands before every path of ours, `llm.` inside a `VideoLM`.
    """
    embedding = f"{prefix}embed_tokens.weight"
    entries = {
        embedding: (f"{at}embed_tokens", MATRIX),
        **{
            f"{prefix}layers.{{i}}.{name}": (f"{at}layers.{path}", transform)
            for name, (path, transform) in _LAYER.items()
        },
        f"{prefix}norm.weight": (f"{at}norm.scale", VECTOR),
    }
    if not tied:
        entries[head] = (f"{at}lm_head.kernel", LINEAR)
    return Table(
        entries,
        copies={head: embedding} if tied else {},
        # Rotary frequencies, which transformers up to 4.31 saved with the weights.
        ignored=(f"{prefix}layers.{{i}}.self_attn.rotary_emb.inv_freq",),
    )
