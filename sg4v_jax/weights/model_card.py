"""The README of an exported model: what it is, how to load it, what to know."""

from __future__ import annotations

import sg4v_jax
from sg4v_jax.weights.store import ModelSettings

_LOAD = {
    "hf": """import torch
from PIL import Image
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

model = LlavaNextForConditionalGeneration.from_pretrained(DIR, dtype="auto")
processor = AutoProcessor.from_pretrained(DIR)
question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
prompt = processor.apply_chat_template([question], add_generation_prompt=True)
inputs = processor(images=Image.open(GRID), text=prompt, add_special_tokens=False,
                   return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=512)
print(processor.decode(answer[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True))""",
    "llama": """from transformers import AutoTokenizer, LlamaForCausalLM

model = LlamaForCausalLM.from_pretrained(DIR, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(DIR)""",
    "clip": """from transformers import CLIPImageProcessor, CLIPVisionModel

model = CLIPVisionModel.from_pretrained(DIR, dtype="auto")
processor = CLIPImageProcessor.from_pretrained(DIR)""",
    "llava": """# with the code of ShareGPT4Video or Open-LLaVA-NeXT
from llava.model.builder import load_pretrained_model

tokenizer, model, processor, length = load_pretrained_model(DIR, None, "llava_llama_3")""",
}


def model_card(settings: ModelSettings, *, layout: str, parameters: int, dtype: str) -> str:
    """Markdown with a metadata block."""
    inputs, tower, llm = settings.inputs, settings.config.tower, settings.config.llm
    tags = {"hf": "llava_next", "llava": "llava", "llama": "llama", "clip": "clip"}
    lines = [
        "---",
        "library_name: transformers" if layout != "llava" else "library_name: llava",
        "pipeline_tag: " + {"clip": "feature-extraction"}.get(layout, "video-text-to-text"),
        f"tags: [{tags[layout]}, sharegpt4video, sg4v_jax]",
        "---",
        "",
        f"# A ShareGPT4Video model, layout `{layout}`",
        "",
        f"Exported by sg4v_jax {sg4v_jax.__version__}: {parameters:,} parameters in {dtype}.",
        "",
        "| part | shape |",
        "|---|---|",
    ]
    if layout != "llama":
        lines.append(
            f"| tower | CLIP, {tower.num_hidden_layers} layers of {tower.hidden_size}, tiles of "
            f"{tower.image_size}, patches of {tower.patch_size}, feature layer "
            f"{tower.feature_layer} |"
        )
    if layout != "clip":
        lines.append(
            f"| decoder | Llama, {llm.num_hidden_layers} layers of {llm.hidden_size}, "
            f"{llm.vocab_size} vocabulary rows, RoPE base {llm.rope_theta:g}, "
            f"{llm.max_position_embeddings} positions |"
        )
    lines += ["", "## Load it", "", "```python", _LOAD[layout], "```"]
    if layout in ("hf", "llava"):
        picture = (
            f"As one picture: {inputs.frames} frames in a square grid with white bands of "
            f"{inputs.band} pixels, the longer side at most {inputs.longest_side} pixels; then as "
            f"{inputs.visual} tiles. The chat template is `{inputs.template}`; text before the "
            "question:"
        )
        lines += ["", "## How it sees a video", "", picture, "", f"> {inputs.preamble or '(none)'}"]
    if layout == "llava" and settings.config.tower.image_size != 336:
        lines += ["", "`mm_vision_tower` is empty: LLaVA's code needs a CLIP folder of this shape."]
    return "\n".join(lines) + "\n"
