"""What VideoChatGPT's benchmark asks its judge, gpt-3.5-turbo, and how it reads the score.

The messages are those of the evaluation scripts of mbzuai-oryx/Video-ChatGPT (CC BY 4.0),
unchanged; tests know them by their checksums.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from sg4v_jax.evals.judges import Asked, Rule

# The authors' scripts ask until every reply can be read; a judge that never gives one is left.
RULE = Rule(model="gpt-3.5-turbo", settings={}, attempts=10)

_HOW = "Here's how you can accomplish the task:------##INSTRUCTIONS: "
_SYNONYMS = "- Consider synonyms or paraphrases as valid matches.\n"

SYSTEM: Mapping[str, str] = {
    "correctness": "You are an intelligent chatbot designed for evaluating the factual accuracy of "
    "generative outputs for video-based question-answer pairs. Your task is to compare the "
    "predicted answer with the correct answer and determine if they are factually consistent. "
    f"{_HOW}- Focus on the factual consistency between the predicted answer and the correct "
    "answer. The predicted answer should not contain any misinterpretations or misinformation.\n"
    "- The predicted answer must be factually accurate and align with the video content.\n"
    f"{_SYNONYMS}- Evaluate the factual accuracy of the prediction compared to the answer.",
    "detail": "You are an intelligent chatbot designed for evaluating the detail orientation of "
    "generative outputs for video-based question-answer pairs. Your task is to compare the "
    "predicted answer with the correct answer and determine its level of detail, considering both "
    f"completeness and specificity. {_HOW}- Check if the predicted answer covers all major points "
    "from the video. The response should not leave out any key aspects.\n- Evaluate whether the "
    "predicted answer includes specific details rather than just generic points. It should provide "
    "comprehensive information that is tied to specific elements of the video.\n"
    f"{_SYNONYMS}- Provide a single evaluation score that reflects the level of detail orientation "
    "of the prediction, considering both completeness and specificity.",
    "context": "You are an intelligent chatbot designed for evaluating the contextual "
    "understanding of generative outputs for video-based question-answer pairs. Your task is to "
    "compare the predicted answer with the correct answer and determine if the generated response "
    f"aligns with the overall context of the video content. {_HOW}- Evaluate whether the predicted "
    "answer aligns with the overall context of the video content. It should not provide "
    "information that is out of context or misaligned.\n- The predicted answer must capture the "
    f"main themes and sentiments of the video.\n{_SYNONYMS}- Provide your evaluation of the "
    "contextual understanding of the prediction compared to the answer.",
    "temporal": "You are an intelligent chatbot designed for evaluating the temporal understanding "
    "of generative outputs for video-based question-answer pairs. Your task is to compare the "
    "predicted answer with the correct answer and determine if they correctly reflect the temporal "
    f"sequence of events in the video content. {_HOW}- Focus on the temporal consistency between "
    "the predicted answer and the correct answer. The predicted answer should correctly reflect "
    "the sequence of events or details as they are presented in the video content.\n- Consider "
    "synonyms or paraphrases as valid matches, but only if the temporal order is maintained.\n- "
    "Evaluate the temporal accuracy of the prediction compared to the answer.",
    "consistency": "You are an intelligent chatbot designed for evaluating the consistency of "
    "generative outputs for similar video-based question-answer pairs. You will be given two very "
    "similar questions, a common answer common to both the questions and predicted answers for the "
    "two questions .Your task is to compare the predicted answers for two very similar question, "
    f"with a common correct answer and determine if they are consistent. {_HOW}- Focus on the "
    "consistency between the two predicted answers and the correct answer. Both predicted answers "
    "should correspond to the correct answer and to each other, and should not contain any "
    "contradictions or significant differences in the conveyed information.\n- Both predicted "
    "answers must be consistent with each other and the correct answer, in terms of the "
    "information they provide about the video content.\n- Consider synonyms or paraphrases as "
    "valid matches, but only if they maintain the consistency in the conveyed information.\n- "
    "Evaluate the consistency of the two predicted answers compared to the correct answer.",
}

_OPENING = "Please evaluate the following video-based question-answer pair:\n\n"
_ONE = "Question: {question}\nCorrect Answer: {answer}\nPredicted Answer: {pred}\n\n"
_TWO = (
    "Question 1: {question1}\nQuestion 2: {question2}\nCorrect Answer: {answer}\n"
    "Predicted Answer to Question 1: {pred1}\nPredicted Answer to Question 2: {pred2}\n\n"
)
# What is scored, what its highest degree is called, and the article before the last naming.
_WANTED = {
    "correctness": ("factual accuracy", "factual consistency", "the "),
    "detail": ("detail orientation", "detail orientation", "the "),
    "context": ("contextual understanding", "contextual understanding", ""),
    "temporal": ("temporal accuracy", "temporal consistency", "the "),
    "consistency": ("consistency", "consistency", "the "),
}


def user_template(score: str) -> str:
    """The user's message with its places `{question}`, `{answer}`, `{pred}` (or two of them)."""
    what, best, article = _WANTED[score]
    return (
        f"{_OPENING}{_TWO if score == 'consistency' else _ONE}"
        f"Provide your evaluation only as a {what} score where the {what} score is an integer "
        f"value between 0 and 5, with 5 indicating the highest level of {best}. Please generate "
        "the response in the form of a Python dictionary string with keys 'score', where its "
        f"value is {article}{what} score in INTEGER, not STRING.DO NOT PROVIDE ANY OTHER OUTPUT "
        "TEXT OR EXPLANATION. Only provide the Python dictionary string. For example, your "
        "response should look like this: {''score': 4.8}."
    )


def asked(
    row: str, *, score: str, questions: Sequence[str], answer: str, preds: Sequence[str]
) -> Asked:
    """The judge's question about one answer, or about two that should agree."""
    two = len(preds) > 1
    values = {"answer": answer}
    for number, (question, pred) in enumerate(zip(questions, preds, strict=True), 1):
        end = str(number) if two else ""
        values |= {f"question{end}": question, f"pred{end}": pred}
    user = _filled(user_template(score), values)
    messages = [{"role": "system", "content": SYSTEM[score]}, {"role": "user", "content": user}]
    return Asked(row, "\n".join(preds), messages)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with `{name}` replaced, each once; other braces, also in values, stay."""
    head, places = "", template
    for name in sorted(values, key=lambda n: template.index(f"{{{n}}}")):
        before, _, places = places.partition(f"{{{name}}}")
        head += before + values[name]
    return head + places


def read_score(reply: str, *, none_is_zero: bool = False) -> int:
    """The score in a reply `{'score': 4}`, cut to a whole number: 2.9 is 2.

    Args:
      none_is_zero: a dictionary without a score is 0, as in one script of ShareGPT4Video.

    Raises:
      ValueError: not one Python dictionary with a number.
    """
    try:
        value = ast.literal_eval(reply)
        return int(value.get("score", 0) if none_is_zero else value["score"])
    except (SyntaxError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as e:
        raise ValueError(f"not {{'score': number}}: {reply[:60]!r}") from e
