"""Answers that are kept while a run goes on."""

from __future__ import annotations

import types

from sg4v_jax.evals.keeping import Kept


def test_an_answer_may_hold_any_character(tmp_path):
    """U+2028 and U+0085 end a line for Python's splitlines; a resumed run must read them."""
    turns = lambda question: [types.SimpleNamespace(content=f"ask {question.id}")]
    asked = [types.SimpleNamespace(id=str(n)) for n in range(2)]
    kept = Kept(tmp_path, asked, protocol=types.SimpleNamespace(turns=turns))
    said = "one\u2028two\u0085three"
    kept.add([{"id": "0", "prompt": "ask 0", "prediction": said, "error": None}])
    kept.add([{"id": "1", "prompt": "ask 1", "prediction": None, "error": "broken"}])
    assert kept.read(failed=False)["0"]["prediction"] == said
    assert set(kept.read(failed=True)) == {"0", "1"}
