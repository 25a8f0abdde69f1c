"""ShareGPT4Video-8B with everything trained (ours; the original used LoRA).

    sg4v data check --config=configs/sft_8b_full_181k.py
    sg4v train --config=configs/sft_8b_full_181k.py --workdir=runs/sft_8b_full_181k

The data, batch and schedule of `sft_8b_lora_181k.py`; language model, newline and projector at
2e-5, tower at 2e-6, as in the fine-tuning of the base (`sft_llava_next_8b.py`). Masters and moments
are f32: 100 GB of state for 8.35 B parameters, so at least 8 chips of 95 GB or 16 of 16 GB.

Chips: 32 (v5p-64). Hours: about 0.8 (an estimate: arithmetic at 45 % of peak, nothing measured).
Reproduces no published row; compare it with row 5 of the caption ablation.
"""

from sg4v_jax.configs import sft_8b_lora_181k


def get_config(arg: str = ""):
    c = sft_8b_lora_181k.get_config(arg)
    c.model.lora.rank = 0
    c.optim.parts = dict(llm="full", projector="full", tower="full", separators="full")
    c.optim.groups = dict(
        llm=dict(learning_rate=2e-5),
        projector=dict(learning_rate=2e-5),
        separators=dict(learning_rate=2e-5),
        tower=dict(learning_rate=2e-6),
    )
    c.run.keep = 1  # 100 GB each
    return c
