"""What transformers makes of an exported folder: pixels, ids, text and logits against ours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.models.clip import normalise
from sg4v_jax.text.chat import Turn, stop_ids
from sg4v_jax.video import anyres
from sg4v_jax.weights import export_model, hf_files

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("jinja2", reason="needs jinja2, for transformers' chat templates")
pytestmark = pytest.mark.torch

SIZES = [(640, 480), (480, 640), (960, 200), (333, 333), (1919, 1466)]
QUESTION = "What happens in the video?"


@pytest.fixture(scope="module")
def folder(checkpoints):
    return checkpoints("hf")


@pytest.fixture(scope="module")
def processor(folder):
    return transformers.AutoProcessor.from_pretrained(folder)


def grid(size) -> np.ndarray:
    """A smooth picture with noise, so that every resampling shows."""
    rng = np.random.default_rng(0)
    w, h = size
    wave = 127 + 80 * np.sin(np.arange(h)[:, None] / 9 + np.arange(w)[None, :] / 13)
    return (wave[..., None] + rng.integers(-40, 40, (h, w, 3))).clip(0, 255).astype(np.uint8)


def question():
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize("size", SIZES)
def test_pixels_and_ids_are_ours(processor, random_model, size):
    settings = export_model.with_image_token(random_model())[0].settings
    picture = grid(size)
    prompt = processor.apply_chat_template(question(), add_generation_prompt=True)
    theirs = processor(
        images=Image.fromarray(picture), text=prompt, add_special_tokens=False, return_tensors="np"
    )
    tiles = anyres.make_tiles(picture, settings.inputs.anyres)
    ours = np.asarray(normalise(tiles, settings.config.tower)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(theirs["pixel_values"][0], ours, rtol=0, atol=1e-6)
    sequence, _ = settings.inputs.sequence(
        [Turn("user", f"<image>\n{QUESTION}")],
        sizes=[size],
        tokenizer=settings.tokenizer,
        generation=True,
    )
    image_id = settings.tokenizer.id_of(hf_files.IMAGE)
    ids = np.where(sequence.visual_index == -1, sequence.tokens, image_id)
    np.testing.assert_array_equal(theirs["input_ids"][0], ids)
    assert theirs["image_sizes"].tolist() == [list(size[::-1])]


def test_the_template_in_one_step_gives_the_same_ids(processor):
    picture = Image.fromarray(grid(SIZES[0]))
    prompt = processor.apply_chat_template(question(), add_generation_prompt=True)
    apart = processor(images=picture, text=prompt, add_special_tokens=False)["input_ids"][0]
    asked = question()
    asked[0]["content"][0]["image"] = picture
    joined = processor.apply_chat_template(
        asked, add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"][0]
    assert list(joined) == list(apart)
    bos = processor.tokenizer.bos_token_id
    assert list(apart[:3]).count(bos) == 2  # the released model was trained so


def test_several_turns_render_as_ours(processor, random_model):
    settings = random_model().settings
    turns = [Turn("user", "One?"), Turn("assistant", "Yes."), Turn("user", "And\n'two'?")]
    messages = [{"role": t.role, "content": t.content} for t in turns]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    ours = settings.inputs.chat_template.render(turns, generation=True)
    assert text == "<|begin_of_text|>" + ours  # the tokenizer's own bos, spelled
    with_system = [{"role": "system", "content": "Be brief."}, *messages]
    assert "Be brief." in processor.apply_chat_template(with_system)
    assert "helpful" not in processor.apply_chat_template(with_system)


def test_generation_ends_where_ours_does(folder, random_model):
    config = transformers.GenerationConfig.from_pretrained(folder)
    settings = random_model().settings
    assert set(config.eos_token_id) == stop_ids(settings.tokenizer, settings.inputs.chat_template)
    assert not config.do_sample


def test_the_tower_and_the_decoder_load_alone(checkpoints, random_model):
    model = random_model()
    tower = transformers.CLIPVisionModel.from_pretrained(checkpoints("clip"))
    position = tower.state_dict()
    name = next(n for n in position if n.endswith("position_embedding.weight"))
    np.testing.assert_array_equal(
        position[name].numpy(), model.params["tower.embeddings.position_embedding"].whole()
    )
    processor = transformers.CLIPImageProcessor.from_pretrained(checkpoints("clip"))
    assert tuple(processor.image_mean) == model.settings.config.tower.image_mean
    decoder, report = transformers.LlamaForCausalLM.from_pretrained(
        checkpoints("llama"), output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert decoder.config.rope_parameters["rope_theta"] == model.settings.config.llm.rope_theta
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints("llama"))
    assert tokenizer("A ball").input_ids == model.settings.tokenizer.encode("A ball", special=True)


def test_a_widened_vocabulary_never_says_a_new_row(random_model, tokenizer, tmp_path):
    model = random_model(vocab_size=tokenizer.vocab_size)  # no row for <image>
    wide, image_id, notes = export_model.with_image_token(model)
    rows = wide.settings.config.llm.vocab_size
    assert rows % 64 == 0 and image_id == tokenizer.vocab_size < rows
    assert f"{tokenizer.vocab_size} rows became {rows}" in notes[0]
    export_model.write(model, tmp_path / "hf", layout="hf")
    loaded = transformers.LlavaNextForConditionalGeneration.from_pretrained(tmp_path / "hf").eval()
    assert loaded.config.image_token_id == image_id
    with torch.no_grad():
        logits = loaded(input_ids=torch.arange(tokenizer.vocab_size)[None]).logits[0]
    old, new = logits[:, : tokenizer.vocab_size], logits[:, tokenizer.vocab_size :]
    torch.testing.assert_close(new, old.mean(1, keepdim=True).expand_as(new))
    assert (new.max(1).values < old.max(1).values).all()
