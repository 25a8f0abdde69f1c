"""Instruction tuning of the image base, LLaVA-NeXT-8B: the second of the two runs that make it.

    sg4v data check --config=configs/sft_llava_next_8b.py
    sg4v train --config=configs/sft_llava_next_8b.py --workdir=runs/sft_llava_next_8b

Reproduces the fine-tuning script of Open-LLaVA-NeXT's 8B model: 1M open instructions, everything
trained, language model, newline and projector at 2e-5, tower at 2e-6, 1 epoch, about 128 samples a
step (64 rows of two), cosine with 3 % warm-up. The original sorts batches by modality and length;
packing makes that unnecessary.

Chips: 32 (v5p-64). Hours: about 5.7 (an estimate: arithmetic at 45 % of peak, nothing measured).
Its checkpoint is what `sft_8b_lora_153k.py` and `sft_8b_lora_181k.py` take as `model.init`.
"""

from sg4v_jax.configs import sft_8b_full_181k

MIX_1M = dict(
    name="open-llava-next-1M",
    file="data/llava-next/open-llava-next_instruct_mix1M.json",
    format="llava_json",
    root="data",
    expected=1_000_000,
    source="hub dataset Lin-Chen/Open-LLaVA-NeXT-mix1M",
    licence="of its parts; see the dataset's card",
    next_step="download the JSON, and the image folders that its card lists, below root",
)


def get_config(arg: str = ""):
    c = sft_8b_full_181k.get_config(arg)
    c.model.init = "runs/pretrain_projector_8b"
    c.data.parts = (MIX_1M,)
    c.data.microbatch = 4
    return c
