"""Mixes of the paper as named parts, for `data.parts` of a config; each says where it comes from.

from sg4v_jax.configs import mixes

c.data.parts = mixes.mix_181k()
c.data.parts = mixes.mix665k_videochatgpt(captions="runs/share28k_vcg/detailed.json")
"""

from sg4v_jax.caption.bridge.split import MIXES

_SPLIT = (
    "download sharegpt4video_mix181k_vqa-153k_share-cap-28k.json (hub dataset ShareGPT4Video/"
    "ShareGPT4Video), then `sg4v data split FILE --out=data/mix181k`; make grids of its videos, or "
    "put the published ones below root"
)
_SOURCES = {
    "share4video": "ShareGPT4Video captions of Panda-70M, Ego4D and BDD100K",
    "videochatgpt": "VideoChatGPT conversations",
    "clevrer": "CLEVRER questions",
    "egoqa": "EgoQA, of Ego4D",
    "nextqa": "NExT-QA",
    "tgif": "TGIF-Transition",
}


def mix_181k(*, captions: str = "", root: str = "data/image_grid") -> tuple[dict, ...]:
    """The 181K mix: 13K + 45K + 8K + 34K + 53K questions and 28K captions, a part each.

    Args:
      captions: an arm of `sg4v data build` in place of the published captions; its media paths
        are relative to `root` too. "none" leaves captions out (the 153K mix).
      root: what media paths are relative to.
    """
    parts = []
    for part in MIXES["181k"]:
        if part.name == "share4video" and captions == "none":
            continue
        own = part.name == "share4video" and bool(captions)
        parts.append(
            dict(
                name=part.name,
                file=captions if own else f"data/mix181k/{part.name}.json",
                format="llava_json",
                root=root,
                expected=part.expected,
                source=_SOURCES[part.name],
                licence="CC BY-NC 4.0 (annotations); videos by their own sources",
                next_step="`sg4v data build --help`" if own else _SPLIT,
            )
        )
    return tuple(parts)


def mix665k_videochatgpt(*, captions: str = "") -> tuple[dict, ...]:
    """LLaVA-mix665K and VideoChatGPT-100K, the data of the paper's first experiment.

    Args:
      captions: VideoChatGPT-100K with its 28K caption samples replaced, an arm of `sg4v data
        build --replace_captions`; empty for the baseline.
    """
    videochatgpt = dict(
        name="videochatgpt100k",
        file=captions or "data/videochatgpt/VideoInstruct100K.json",
        format="videochatgpt_json",
        root="data/videochatgpt/videos",
        expected=100_000,
        source="hub dataset MBZUAI/VideoInstruct-100K"
        + (", 28K caption samples replaced by ShareGPT4Video's" if captions else ""),
        licence="CC BY-SA 4.0 (annotations); videos of ActivityNet by their own sources",
        next_step="sg4v data build --replace_captions=data/videochatgpt/VideoInstruct100K.json "
        "--with=data/sharegpt4video_40k.jsonl --only='panda|ego4d|bdd' --expected=28000 --out=runs/vcg_share28k; videos of "
        "the captions go below root too"
        if captions
        else "download VideoInstruct100K.json and the videos that its card links",
    )
    images = dict(
        name="llava_mix665k",
        file="data/llava/llava_v1_5_mix665k.json",
        format="llava_json",
        root="data/llava",
        expected=665_000,
        source="hub dataset liuhaotian/LLaVA-Instruct-150K",
        licence="CC BY 4.0 and its sources' own; see the dataset's card",
        next_step="download the JSON, and the image folders that its card lists, below root",
    )
    return (images, videochatgpt)
