"""The rule that reads a choice: which option an answer means. Video-Bench's scripts share it."""

from __future__ import annotations


def right_option(said: str, *, gold: str, letters: str | None = None) -> bool:
    """Whether `said` names the option of `gold`, "(B) blue".

    The first word of the answer, without points, must stand in "(b)", or hold it. So an empty
    answer is right, as in the official script, unless `letters` asks for one of them in that word.

        "(B) blue", "(b)", "(B", "(B)\\nA", "b"    right
        "(A) red", "(The", "(B,", "(B: blue"       wrong
        "(", "", "( B) blue"                       right; wrong with letters "abcdefg"
    """
    option = said.lower().split(" ")[0]
    if letters is not None and not any(letter in option for letter in letters):
        return False
    wanted = gold.lower().split(" ")[0]
    return option.replace(".", "") in wanted or wanted in option


RULES = {
    "official": None,
    "letters a-g": "abcdefg",
    "letters a-h": "abcdefgh",
}
