"""Holds `thinkloom.hipo` against golden vectors and bytes (hipo.py calls this in an environment of numpy alone).

Usage: hipo_rule.py GOLDEN     (the vectors of tests/tools/reward_vectors.py)

- Rewards, means and both advantages of every golden group, from the package's `reward` and from `batch_advantages`.
- The count of judge tokens, for texts that are cut into tokens anywhere.
- The text of forced prompts, what processes exchange, and settings that do not go.
- The examples in the docstrings.
"""
from __future__ import annotations

import doctest
import itertools
import sys
from typing import Any

import numpy as np

import hipo_cases
import thinkloom
from thinkloom import hipo

SIZE = 8


def require(condition: bool, message: str) -> None:
    """Ends the check with a message if the condition does not hold."""
    if not condition:
        sys.exit(f"hipo_rule: {message}")


def check_rule(golden: str) -> None:
    """Compares the rule with the golden vectors."""
    largest, count = 0.0, 0
    for case in hipo_cases.read(golden):
        lengths = case.get("completion_tokens") or [0] * len(case["responses"])
        scored = [hipo.Scored(None if mode == "none" else mode, True, correct, format_ok, False, False, True, True,
                              tokens, 0)
                  for (mode, correct, format_ok), tokens in zip(case["responses"], lengths, strict=True)]
        settings = hipo.HipoSettings.of(case["settings"])
        found = hipo.batch_advantages(["q"] * len(scored), scored, settings)
        require(found.metrics["groups/adjusted"] == case["is_adjusted"], f"is_adjusted differs: {case}")
        rows = thinkloom.reward(rows_of(case, lengths), **settings.keywords())
        pairs = [(row["mean_reward"], case["mean"]) for row in rows]
        for mode, name in (("think_on", "mean_on"), ("think_off", "mean_off")):
            of_mode = [row["mean_reward_mode"] for row in rows if row["mode"] == mode]
            require((not of_mode) == (case[name] is None), f"{name} differs: {case}")
            pairs += [(mean, case[name]) for mean in of_mode]
        for name in ("reward", "advantage_judge", "advantage_answer"):
            pairs += list(zip([row[name] for row in rows], case[name], strict=True))
        pairs += list(zip(found.judge, case["advantage_judge"], strict=True))
        pairs += list(zip(found.answer, case["advantage_answer"], strict=True))
        largest = max([largest, *(abs(one - other) for one, other in pairs)])
        count += 1
    require(count > 100 and largest <= 1e-12, f"the rule differs from {count} golden vectors by {largest:.3g}")
    print(f"rule: {count} golden groups, largest difference {largest:.3g}")


def rows_of(case: dict[str, Any], lengths: list[int]) -> list[dict[str, Any]]:
    """Returns a golden group as rows."""
    return [{"query_id": "q", "mode": mode, "correct": correct, "format_ok": format_ok, "completion_tokens": tokens}
            for (mode, correct, format_ok), tokens in zip(case["responses"], lengths, strict=True)]


class Pieces:
    """Stands in for a tokenizer: token i is the i-th piece of some bytes, and half a code point decodes to U+FFFD."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def decode(self, ids: list[int], **_: bool) -> str:
        return b"".join(self.pieces[index] for index in ids).decode(errors="replace")


def check_tokens() -> None:
    """Compares the count of judge tokens with the bytes, for texts that are cut into tokens anywhere."""
    random = np.random.default_rng(7)
    texts = [row["completion"] for row in hipo_cases.rows(hipo_cases.groups(len(hipo_cases.SORTS), SIZE))]
    count = 0
    for text in texts:
        data = text.encode()
        for _ in range(10):
            cuts = sorted(random.integers(0, len(data) + 1, random.integers(0, len(data) + 1)).tolist())
            bounds = [0, *cuts, len(data)]  # equal cuts are tokens without bytes
            tokenizer = Pieces([data[start:end] for start, end in zip(bounds, bounds[1:])])
            chars = int(random.integers(0, len(text) + 1))
            end = len(text[:chars].encode())
            expected = sum(start < end for start in bounds[:-1])
            found = hipo.judge_token_count(range(len(bounds) - 1), text, chars, tokenizer)
            # Tokens without bytes at the very end of the head begin at `end`; before it they begin earlier.
            require(found == (expected, True), f"judge tokens of {text!r} before {chars}: {found}, expected {expected}")
            count += 1
    stripped = hipo.judge_token_count([0, 1], "<judge>a</judge>", 16, Pieces([b"  <judge>a</judg", b"e>"]))
    require(stripped == (1, False), f"judge tokens of ids with another text: {stripped}, expected 1, flagged")
    print(f"tokens: {count} texts cut anywhere, a token counts where it begins")


def check_rest() -> None:
    """Holds forced prompts, the exchange between processes, and the refusal of settings."""
    for mode in hipo.MODES:
        forced = f"<judge>\n{hipo_cases.FORCED_JUSTIFICATION}\n</judge>\n\n<{mode}>\n"
        require(hipo.prefill(mode, hipo_cases.FORCED_JUSTIFICATION) == forced, f"prefill of {mode}")
    count = 0
    for mode, *flags in itertools.product((*hipo.MODES, None), *[(False, True)] * 7):
        row = hipo.Scored(mode, *flags, tokens=70_000, judge_tokens=count)
        require(hipo.Scored.from_numbers(row.to_numbers()) == row, f"{row} changes between processes")
        count += 1
    wrong = {"omega": -1.0, "epsilon": 0.0, "boost": "some", "deviation": "none", "method": "ppo", "length_weight": 2.0,
             "omga": 0.1, "other_mode": "both", "evaluated": "never"}
    for name, value in wrong.items():
        try:
            hipo.HipoSettings.of({name: value})
        except ValueError as error:
            require(name in str(error), f"the error does not name {name}: {error}")
        else:
            require(False, f"{name} = {value!r} is accepted")
    try:
        hipo.HipoSettings(omega="0.1")
    except (TypeError, ValueError) as error:
        require("omega" in str(error), f"the error does not name omega: {error}")
    else:
        require(False, "a text is accepted as omega")
    print(f"rest: forced prompts, {count} rows between processes, {len(wrong)} settings refused by name")


def check_examples() -> None:
    """Runs the examples of the docstrings."""
    import thinkloom.verl

    outcomes = [doctest.testmod(module) for module in (hipo, thinkloom.verl)]
    require(not any(outcome.failed for outcome in outcomes), f"examples: {outcomes}")
    print(f"examples: {sum(outcome.attempted for outcome in outcomes)} lines run")


def main(golden: str) -> None:
    check_rule(golden)
    check_tokens()
    check_rest()
    check_examples()


if __name__ == "__main__":
    main(*sys.argv[1:])
