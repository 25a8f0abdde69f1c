"""Names of control tokens, and the second spellings that the same ids go by.

Ids are written nowhere: they are looked up by name in the tokenizer at hand.
"""

from __future__ import annotations

from collections.abc import Mapping

BOS = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
EOT = "<|eot_id|>"
PAD = "<|pad|>"

# ChatML (SmolLM2, Qwen) has these in its vocabulary; InternLM2 has them under other names.
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
END_OF_DOCUMENT = "<|endoftext|>"

# SentencePiece vocabularies (InternLM2).
UNK = "<unk>"
SENTENCE_START = "<s>"
SENTENCE_END = "</s>"

# Llama 3.1 gave names to ids that Llama 3 had reserved, and moved the reserved names on: its
# `<|reserved_special_token_2|>` is another id. A Llama 3 vocabulary answers to both.
LLAMA_3_1_NAMES: Mapping[str, str] = {
    "<|finetune_right_pad_id|>": "<|reserved_special_token_2|>",
    "<|step_id|>": "<|reserved_special_token_3|>",
    "<|eom_id|>": "<|reserved_special_token_4|>",
    "<|python_tag|>": "<|reserved_special_token_5|>",
    "<|image|>": "<|reserved_special_token_6|>",
}

# InternLM2's chat tokens, and how its vocabulary spells them.
INTERNLM2_IM_START = "[UNUSED_TOKEN_146]"
INTERNLM2_IM_END = "[UNUSED_TOKEN_145]"
INTERNLM2_NAMES: Mapping[str, str] = {
    IM_START: INTERNLM2_IM_START,
    IM_END: INTERNLM2_IM_END,
    "<|action_start|>": "[UNUSED_TOKEN_144]",
    "<|action_end|>": "[UNUSED_TOKEN_143]",
    "<|interpreter|>": "[UNUSED_TOKEN_142]",
    "<|plugin|>": "[UNUSED_TOKEN_141]",
}
