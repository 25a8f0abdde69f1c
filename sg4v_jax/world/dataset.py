"""Many scenes -> a folder: mp4 files, the truth, captions, questions and training records.

    DIR/videos/{id}.mp4   17 frames, 96x96, 8 frames a second
    DIR/truth.jsonl       one scene a line, `id` added (see scene.to_json)
    DIR/captions.jsonl    id, short, detailed, static
    DIR/questions.jsonl   id, video, group, kind, form, text, options, answer, told
                          (the answer as training tells it); `video` is relative
    DIR/train.json        records in LLaVA form: id, video, conversations
    DIR/dataset.json      arguments and counts; written last, so a folder without it is not complete

Seeds. Scene i of a data set with seed S in split p has seed (2 S + [p is heldout]) * 10**6 + i, so
two data sets that differ in seed or split share no scene, and ids never collide.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, WorkdirError
from sg4v_jax.video.encode import write_mp4
from sg4v_jax.world import questions
from sg4v_jax.world.captions import detailed_caption, short_caption, static_caption
from sg4v_jax.world.render import render
from sg4v_jax.world.scene import FPS, SPLITS, Scene, from_json, sample_scene, to_json

MAX_VIDEOS = 10**6
CAPTION_PROMPTS = {
    "detailed": "Describe this video in detail.",
    "short": "Describe this video briefly.",
    "static": "Describe how this video begins.",
}
DEFAULT_MIX = {
    "train": {"temporal": 2, "static": 1, "frame": 1},
    "heldout": {"temporal": 1, "static": 1},
}
_TEXT_SALT = 21
_MARK = "making.json"  # arguments of a data set that is being made


def scene_seed(seed: int, index: int, *, split: str) -> int:
    """The seed of scene `index` of data set `seed`: scene_seed(3, 7, split="train") = 6000007."""
    return (2 * seed + SPLITS.index(split)) * MAX_VIDEOS + index


def video_id(scene: Scene) -> str:
    """The id of a scene's video, for example "heldout-1000003"."""
    return f"{scene.split}-{scene.seed:06d}"


def make_dataset(
    out: str,
    *,
    videos: int,
    seed: int,
    split: str = "train",
    questions_per_video: int = 4,
    mix: Mapping[str, float] | None = None,
    captions: str = "detailed",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Renders `videos` scenes into the folder `out` and returns the content of dataset.json.

    A folder that the same arguments made is left as it is; one that they began is completed,
    keeping the videos that are there.

    Args:
      out: the folder; made if missing.
      videos: how many, at most `MAX_VIDEOS`.
      seed: seed of the data set, 0 or more.
      split: "train" or "heldout" (shows combinations of shape and colour that train never does).
      questions_per_video: how many questions a video gets; fewer where `choose_kinds` finds no
        more to ask.
      mix: question groups or kinds -> shares of `questions_per_video`; default `DEFAULT_MIX`.
      captions: which caption train.json asks for: "detailed", "short", "static", "none".
      progress: called with (videos done, videos in all) after each video.

    Raises:
      ConfigError: a value out of range.
      WorkdirError: `out` holds a data set of other arguments, or files of another origin.
      StorageError: writing failed; run again to complete.
    """
    mix = dict(DEFAULT_MIX.get(split, {}) if mix is None else mix)
    arguments = {
        "videos": videos,
        "seed": seed,
        "split": split,
        "questions_per_video": questions_per_video,
        "mix": mix,
        "captions": captions,
    }
    _check_arguments(arguments)
    folder = files.path(out)
    if (done := _claim(folder, arguments)) is not None:
        return done

    truth, texts, asked, records = [], [], [], []
    for index in range(videos):
        scene = sample_scene(scene_seed(seed, index, split=split), split=split)
        name, rng = video_id(scene), np.random.default_rng([scene.seed, _TEXT_SALT])
        file = f"videos/{name}.mp4"
        if not (folder / file).exists():  # write_mp4 renames whole files into place
            write_mp4(str(folder / file), render(scene), fps=FPS)
        caption = {
            "short": short_caption(scene, rng),
            "detailed": detailed_caption(scene, rng),
            "static": static_caption(scene, rng),
        }
        kinds = choose_kinds(scene, rng, count=questions_per_video, mix=mix)
        own = questions.make_questions(scene, rng, kinds=kinds)
        truth.append({"id": name} | to_json(scene))
        texts.append({"id": name} | caption)
        asked += [_question_row(q, file) for q in own]
        records += qa_records(name, file, own, rng)
        if captions != "none":
            prompt = CAPTION_PROMPTS[captions]
            turns = [(prompt, caption[captions])]
            records.append(_record(f"{name}-caption", file, turns))
        if progress is not None:
            progress(index + 1, videos)

    _write_lines(folder / "truth.jsonl", truth)
    _write_lines(folder / "captions.jsonl", texts)
    _write_lines(folder / "questions.jsonl", asked)
    files.write_json(folder / "train.json", records)
    summary = {
        "arguments": arguments,
        "questions": dict(sorted(Counter(q["kind"] for q in asked).items())),
        "train_records": len(records),
    }
    files.write_json(folder / "dataset.json", summary)
    (folder / _MARK).unlink(missing_ok=True)
    return summary


def read_truth(folder: str) -> dict[str, Scene]:
    """The scenes of a data set by video id.

    Raises:
      RecordError: truth.jsonl is missing or damaged; names the line.
    """
    name = files.path(folder) / "truth.jsonl"
    scenes = {}
    for number, row in enumerate(files.read_jsonl(name), 1):
        fields = {key: value for key, value in row.items() if key != "id"}
        scene = from_json(fields, where=f"{name}: record {number}")
        scenes[video_id(scene)] = scene
    return scenes


def choose_kinds(
    scene: Scene, rng: np.random.Generator, *, count: int, mix: Mapping[str, float]
) -> list[str]:
    """Draws about `count` question kinds for a scene, shared out by `mix`.

    Topics (`questions.TOPICS`) not asked yet go first. Where none is left, kinds about given
    frames repeat, on other frames; other kinds repeat a topic only where each question is asked
    alone: in the held-out split, and about order. The choice looks at which kinds are applicable, never at answers.
    """
    chosen: list[str] = []
    for key, share in _shares(count, mix).items():
        pool = [k for k in questions.GROUPS.get(key, (key,)) if questions.applicable(scene, k)]
        for _ in range(share):
            used = {questions.TOPICS[k] for k in chosen}
            fresh = [k for k in pool if questions.TOPICS[k] not in used]
            again = [k for k in pool if _may_repeat(k, chosen, split=scene.split)]
            if not (candidates := fresh or again):
                break
            chosen.append(candidates[int(rng.integers(len(candidates)))])
    return chosen


def _may_repeat(kind: str, chosen: Sequence[str], *, split: str) -> bool:
    if kind.startswith("frame_"):
        return True
    alone = split == "heldout" or kind.startswith("order")  # asked in a record of its own
    return alone and kind not in chosen


def _shares(count: int, mix: Mapping[str, float]) -> dict[str, int]:
    """Whole shares of `count`, largest remainders first, ties in order: 5 of 1:1 -> 3, 2."""
    exact = {key: count * weight / sum(mix.values()) for key, weight in mix.items()}
    shares = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(mix, key=lambda key: shares[key] - exact[key])
    for key in by_remainder[: count - sum(shares.values())]:
        shares[key] += 1
    return shares


def qa_records(
    name: str, file: str, asked: Sequence[questions.Question], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Multi-turn training records of one video, the turns in random order.

    Questions of one topic never share a record, because an earlier answer would give away a
    later one ("start_color" is "red", so in frame 9 "blue" means that the change is over). One
    fact of each topic gives nothing away: no single state tells of order or direction.
    """
    records: list[list[questions.Question]] = []
    for number in rng.permutation(len(asked)):
        question = asked[int(number)]
        topic = questions.TOPICS[question.kind]
        # Reasons tell more than one topic, so a question that has them stands alone.
        home = None
        if not question.reasons:
            home = next((r for r in records if _has_room(r, topic)), None)
        if home is None:
            records.append([question])
        else:
            home.append(question)
    return [
        _record(f"{name}-qa{number}", file, [(q.text, q.told) for q in turns])
        for number, turns in enumerate(records)
    ]


def _has_room(record: Sequence[questions.Question], topic: str) -> bool:
    return all(not q.reasons and questions.TOPICS[q.kind] != topic for q in record)


def _record(name: str, file: str, turns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    conversations = []
    for number, (text, answer) in enumerate(turns):
        prompt = text if number else f"<image>\n{text}"
        conversations += [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]
    return {"id": name, "video": file, "conversations": conversations}


def _question_row(question: questions.Question, file: str) -> dict[str, Any]:
    return {
        "id": question.id,
        "video": file,
        "group": question.group,
        "kind": question.kind,
        "form": question.form,
        "text": question.text,
        "options": list(question.options),
        "answer": question.answer,
        "told": question.told,
    }


def _write_lines(name, rows: Sequence[dict]) -> None:
    files.write_atomic(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    def need(field: str, *, ok: bool, mend: str) -> None:
        if not ok:
            raise ConfigError(f"data set: {field} = {arguments[field]!r} cannot be used", mend=mend)

    known = (*questions.GROUPS, *questions.KINDS)
    mix = arguments["mix"]
    need("split", ok=arguments["split"] in SPLITS, mend=f"use one of {SPLITS}")
    need("videos", ok=1 <= arguments["videos"] <= MAX_VIDEOS, mend=f"use 1 to {MAX_VIDEOS}")
    need("seed", ok=arguments["seed"] >= 0, mend="use 0 or more")
    need("questions_per_video", ok=arguments["questions_per_video"] >= 0, mend="use 0 or more")
    need("mix", ok=set(mix) <= set(known), mend=f"use keys among {known}")
    need(
        "mix",
        ok=all(w >= 0 for w in mix.values()) and sum(mix.values()) > 0,
        mend="give shares of 0 or more that are not all 0",
    )
    styles = (*CAPTION_PROMPTS, "none")
    need(
        "captions",
        ok=arguments["captions"] in styles,
        mend=f"use one of {styles}",
    )


def _claim(folder, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Marks `folder` as in the making; gives the summary if it is complete already."""
    done, mark = folder / "dataset.json", folder / _MARK
    if done.exists():
        summary = files.read_json(done)
        _same_arguments(done, summary.get("arguments", {}), arguments)
        return summary
    if mark.exists():
        _same_arguments(mark, files.read_json(mark), arguments)
    elif (folder / "videos").exists() or (folder / "train.json").exists():
        raise WorkdirError(
            f"{folder} has files that `world make` did not begin", mend="choose another folder"
        )
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    files.write_json(mark, arguments)
    return None


def _same_arguments(name, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    differing = [key for key in new if old.get(key) != new[key]]
    if differing:
        changes = ", ".join(f"{key}: {old.get(key)!r} -> {new[key]!r}" for key in differing)
        raise WorkdirError(
            f"{name}: this data set has other arguments ({changes})",
            mend="choose another folder, delete this one, or repeat its arguments",
        )
