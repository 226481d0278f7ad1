"""The reward, the structured response and deduplication in process: the command's results."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import thinkloom

ROOT = Path(__file__).resolve().parents[3]
Command = Callable[..., str]


def close(found: Any, expected: Any) -> bool:
    return found is expected if expected is None or found is None else abs(found - expected) < 1e-12


def test_golden_groups() -> None:
    lines = (ROOT / "fixtures" / "reward_vectors.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 300
    for line in map(json.loads, lines):
        lengths = line.get("completion_tokens", [None] * len(line["responses"]))
        names = ("mode", "correct", "format_ok")
        rows = [
            {"query_id": "q", **dict(zip(names, response)), "completion_tokens": length}
            for response, length in zip(line["responses"], lengths, strict=True)
        ]
        gained = thinkloom.reward(rows, **line["settings"])
        for name in ("reward", "advantage_judge", "advantage_answer"):
            assert all(close(row[name], expected) for row, expected in zip(gained, line[name], strict=True)), line


def completions(count: int) -> list[dict[str, Any]]:
    """Returns rollouts of odd and even kinds."""
    draw = random.Random(5)
    rows: list[dict[str, Any]] = []
    for at in range(count):
        mode = draw.choice(["think_on", "think_off"])
        answer = draw.choice(["4", r"\boxed{4}", "5", "vier \U0001f600 4", ""])
        thinking = "2 + 2 = 4 \u00e9" if mode == "think_on" else None
        text = thinkloom.render(mode, draw.choice(["Short.", "K\u00fcrze \u4e2d"]), answer, thinking)
        text = draw.choice([text, text, text, text[: draw.randrange(len(text))], answer, "<judge>\nx"])
        row: dict[str, Any] = {"query_id": f"q{at // 8}", "completion": text, "gold": draw.choice(["4", 4, "four"])}
        if draw.random() < 0.1:
            row["finish_reason"] = "length"
        if draw.random() < 0.05:
            del row["gold"]
        rows.append(row)
    return rows


def by_command(command: Command, rows: list[dict[str, Any]], *more: str) -> list[dict[str, Any]]:
    text = "\n".join(map(json.dumps, rows))
    code = 4 if any("gold" not in row and "correct" not in row for row in rows) else 0
    return [json.loads(line) for line in command("reward", "--rollouts", "-", *more, stdin=text, expected=code).splitlines()]


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        for name, value in ours.items():
            assert value == theirs.get(name), (name, ours, theirs)


def test_completions_get_what_the_command_gives(command: Command) -> None:
    rows = completions(400)
    same(thinkloom.reward(rows), by_command(command, rows))
    same(thinkloom.reward(rows, omega=0.1, boost="margin"), by_command(command, rows, "--omega", "0.1", "--boost", "margin"))


def test_tokens_of_a_model_file(command: Command) -> None:
    rows, model = completions(100), str(ROOT / "fixtures" / "tiny-llama.gguf")
    expected = by_command(command, rows, "--tokenizer", model, "--length-weight", "0.2")
    same(thinkloom.reward(rows, tokenizer=model, length_weight=0.2), expected)
    same(thinkloom.reward(rows, tokenizer=Path(model), length_weight=0.2), expected)


def byte_level() -> Any:
    """Returns a tokenizer that splits into words and bytes, made here: no model is loaded."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([row["completion"] for row in completions(50)], trainer)
    return tokenizer


def test_tokenizers_of_other_libraries() -> None:
    tokenizer, rows = byte_level(), completions(200)
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    with_ids = [{**row, "token_ids": tokenizer.encode(row["completion"]).ids} for row in rows]
    offsets = lambda text: tokenizer.encode(text).offsets  # noqa: E731
    expected = thinkloom.reward(rows, tokenizer=tokenizer, length_weight=0.1)
    assert thinkloom.reward(rows, tokenizer=fast, length_weight=0.1) == expected
    assert thinkloom.reward(rows, tokenizer=offsets, length_weight=0.1) == expected
    assert thinkloom.reward(with_ids, tokenizer=fast, length_weight=0.1) == expected
    assert thinkloom.reward(np.array(with_ids, dtype=object), tokenizer=tokenizer, length_weight=0.1) == expected
    table = pa.Table.from_pylist([{**row, "gold": str(row.get("gold", ""))} for row in rows])
    counted = thinkloom.reward(table, tokenizer=tokenizer)
    assert [row["judge_tokens"] for row in counted if not row["error"]]
    for row, found in zip(rows, expected):
        if found["error"] is None:
            encoded = tokenizer.encode(row["completion"])
            assert found["completion_tokens"] == len(encoded.ids)
            assert found["judge_tokens"] == sum(start < found["judge_chars"] for start, _ in encoded.offsets)
    with pytest.raises(TypeError, match="tokenizer is int"):
        thinkloom.reward(rows, tokenizer=5)


def test_tables_and_objects_of_numpy() -> None:
    rows = [{"query_id": f"q{at // 4}", "mode": ["think_on", "think_off"][at % 2], "correct": at % 3 == 0, "format_ok": True} for at in range(20)]
    expected = thinkloom.reward(rows)
    assert thinkloom.reward(pa.Table.from_pylist(rows)) == expected
    assert thinkloom.reward(pl.DataFrame(rows)) == expected
    assert thinkloom.reward(iter(rows)) == expected
    odd = [{**row, "query_id": np.str_(row["query_id"]), "correct": np.bool_(row["correct"]), "completion_tokens": np.int64(3), "image": object()} for row in rows]
    assert [row["reward"] for row in thinkloom.reward(odd)] == [row["reward"] for row in expected]
    assert thinkloom.reward([]) == []


def test_a_faulty_row_gets_an_error() -> None:
    good = {"query_id": 1, "mode": "think_on", "correct": 1, "format_ok": 1}
    found = thinkloom.reward([good, 5, {"query_id": 1}, {**good, "mode": "deep"}, {**good, "gold": object()}, {**good, "correct": 2}, good])
    assert [row["error"] is None for row in found] == [True, False, False, False, False, False, True]
    for row, words in zip(found[1:6], ["row 1 is int, expected a dict", "no mode", "deep", "row 4: it has no form in JSON: object", "correct is 2"]):
        assert words in row["error"] and row["reward"] is None


@pytest.mark.parametrize(
    ("error", "words", "settings"),
    [
        (TypeError, "omga", {"omga": 1}),
        (TypeError, "omega is str", {"omega": "1"}),
        (TypeError, "omega is bool", {"omega": True}),
        (TypeError, "global_term is float", {"global_term": 1.0}),
        (ValueError, "omega is -1", {"omega": -1}),
        (ValueError, "boost.*high", {"boost": "high"}),
        (ValueError, "other_mode.*wrong", {"other_mode": "wrong"}),
        (ValueError, "evaluated.*wrong", {"evaluated": "wrong"}),
        (ValueError, "length_weight", {"length_weight": 0.5, "method": "grpo"}),
    ],
)
def test_a_wrong_setting_is_named(error: type[Exception], words: str, settings: dict[str, Any]) -> None:
    with pytest.raises(error, match=words):
        thinkloom.reward([], **settings)
    for rows in ("rows", {"query_id": 1}, 5):
        with pytest.raises(TypeError, match="rows is"):
            thinkloom.reward(rows)


def rewards(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return thinkloom.reward(rows)


def test_workers_of_both_kinds() -> None:
    rows = completions(100)
    expected = rewards(rows)
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map_async(rewards, [rows, rows]).get(60) == [expected] * 2


def test_the_structured_response() -> None:
    text = thinkloom.render("think_on", "Several steps.", "4", thinking="2 + 2")
    parsed = thinkloom.parse(text)
    assert (parsed.mode, parsed.justification, parsed.thinking, parsed.answer) == ("think_on", "Several steps.", "2 + 2", "4")
    assert parsed.well_formed and parsed.fault is None and text[: parsed.judge_chars].endswith("<think_on>")
    assert pickle.loads(pickle.dumps(parsed)) == parsed
    assert eval(repr(parsed), {"StructuredResponse": thinkloom.StructuredResponse}) == parsed
    cut = thinkloom.parse(text[:40], finish_reason="length")
    assert not cut.well_formed and cut.fault is not None
    body = text[parsed.judge_chars + 1 :]
    forced = thinkloom.parse(body, forced_mode="think_on")
    assert forced.well_formed and forced.judge_chars == 0 and forced.answer == "4"
    for wrong in (("think_on", "", "4"), ("think_off", "", "4", "hm"), ("deep", "", "4"), ("think_off", "<judge>", "4")):
        with pytest.raises(ValueError):
            thinkloom.render(*wrong)
    with pytest.raises(ValueError, match="finish_reason"):
        thinkloom.parse("x", finish_reason="tired")
    with pytest.raises(ValueError, match="forced_mode"):
        thinkloom.parse("x", forced_mode="deep")
    with pytest.raises(TypeError):
        thinkloom.parse(5)  # type: ignore[arg-type]


def test_dedup(command: Command, tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "What is the sum of two and three apples?", "answer": "5"},
            {"id": "b", "question": "what is the  sum of two and three apples?", "answer": "5"},
            {"id": "c", "question": "Name the capital of France in one word.", "answer": "Paris"},
            {"id": "d"}]
    items = [{"question": "Name the capital of France in one word."}]
    files = [tmp_path / "rows.jsonl", tmp_path / "items.jsonl"]
    for file, content in zip(files, (rows, items)):
        file.write_text("".join(json.dumps(row) + "\n" for row in content))
    text = command("dedup", "--queries", str(files[0]), "--against", str(files[1]), expected=4)
    expected = [json.loads(line) for line in text.splitlines()]
    assert thinkloom.dedup(files[0], files[1]) == expected == thinkloom.dedup([files[0]], str(files[1]))
    found = thinkloom.dedup(rows, items)
    assert [line["action"] for line in found] == ["keep", "duplicate", "contaminated", "invalid"]
    assert [line["id"] for line in found] == ["a", "b", "c", "rows.jsonl:4"]
    assert not any("/" in str(line.get("benchmark")) for line in found)
    texts = thinkloom.dedup([row.get("question", "") for row in rows[:3]], near_duplicate_threshold=0.9, ngram=3)
    assert [line["id"] for line in texts] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]
    with pytest.raises(ValueError, match="near_threshold"):
        thinkloom.dedup(rows, near_threshold=0.5)
    with pytest.raises(ValueError, match="ngram"):
        thinkloom.dedup(rows, ngram=0)
    with pytest.raises(TypeError, match=r"queries\[1\] is int"):
        thinkloom.dedup(["x", 5])
    with pytest.raises(thinkloom.ThinkloomError, match="missing.jsonl"):
        thinkloom.dedup(tmp_path / "missing.jsonl")
