"""Generates groups of rollouts with every odd case that HiPO's adapters meet (used by hipo.py and the programs beside
it).

A group is a query with its completions: {"query_id", "question", "gold", "kind", "sort", "rollouts": [{"completion",
"finish_reason", "forced_mode"?}, ...]}. `SORTS` names the cases; group i has the case i modulo their number.
"""
from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

MODES = ("think_on", "think_off")
FORCED_JUSTIFICATION = "The mode is given."
# Latin, Greek, Chinese, a combining mark, emoji of several code points: their bytes are split over tokens.
WORDS = ("because", "it", "needs", "no", "steps", "\u03c0\u03bb\u03ad\u03bf\u03bd", "\u56e0\u4e3a\u5f88\u7b80\u5355",
         "e\u0301te\u0301", "\U0001f9e0", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
         "\u00df", "\u2014", "x\u0302")
ASCII_WORDS = WORDS[:5]


def structured(mode: str, justification: str, thinking: str, answer: str) -> str:
    """Returns a whole structured response."""
    return f"<judge>\n{justification}\n</judge>\n\n<{mode}>\n{body(mode, thinking, answer)}"


def body(mode: str, thinking: str, answer: str) -> str:
    """Returns the part of a structured response behind the mode tag."""
    thought = f"<think>\n{thinking}\n</think>\n\n" if mode == "think_on" else ""
    return f"{thought}<answer>\n{answer}\n</answer>"


class Maker:
    """Makes the rollouts of one query from a seed."""

    def __init__(self, number: int, gold: str) -> None:
        self.random, self.gold = random.Random(f"hipo {number}"), gold

    def words(self, pool: tuple[str, ...] = WORDS) -> str:
        return " ".join(self.random.choice(pool) for _ in range(self.random.randint(1, 12)))

    def rollout(self, mode: str, correct: bool, well_formed: bool = True,
                pool: tuple[str, ...] = WORDS) -> dict[str, Any]:
        """Returns a complete response; one that is not well-formed has text behind its end."""
        answer = self.gold if correct else f"{int(self.gold) + self.random.randint(1, 9)}"
        text = structured(mode, self.words(pool), self.words(pool), answer)
        return {"completion": text if well_formed else text + "\n", "finish_reason": "stop"}

    def any(self) -> dict[str, Any]:
        rate = {"think_on": 0.7, "think_off": 0.5}
        mode = self.random.choice(MODES)
        return self.rollout(mode, self.random.random() < rate[mode], self.random.random() < 0.8)

    def without_judge(self) -> dict[str, Any]:
        mode = self.random.choice(MODES)
        whole = body(mode, self.words(), self.gold)
        text = self.random.choice([whole, self.gold, f"<{mode}>\n{whole}", f"<think>\n{self.words()}"])
        return {"completion": text, "finish_reason": "stop"}

    def cut(self) -> dict[str, Any]:
        """Returns a response that its limit cut anywhere, in the judge block as well."""
        text = structured(self.random.choice(MODES), self.words(), self.words(), self.gold)
        return {"completion": text[:self.random.randint(1, len(text) - 1)], "finish_reason": "length"}

    def garbled(self) -> dict[str, Any]:
        whole = structured("think_on", self.words(), "a </judge> <think_off> b", self.gold)
        text = self.random.choice([
            whole, whole + whole, "Sure. " + whole, whole.replace("</judge>", ""), "</judge>" + whole,
            whole.replace("<think_on>", "<think_off>"), whole.replace("\n\n<think_on>", "<think_on>"),
            "\ufffd" + whole, "", "<judge>", "  " + whole + "  ",
        ])
        return {"completion": text, "finish_reason": "stop"}

    def forced(self, mode: str) -> dict[str, Any]:
        """Returns what follows a prompt that ends with a mode's tag; sometimes it opens a judge block again."""
        text = body(mode, self.words(), self.gold)
        text = self.random.choice([text, text, self.words() + "</judge>" + text])
        return {"completion": text, "finish_reason": "stop", "forced_mode": mode}


# The name of each case, and a function that makes rollout `index` of `size`.
SORTS = {
    "mixed": lambda make, index, size: make.any(),
    "think_on only": lambda make, index, size: make.rollout("think_on", index % 3 > 0),
    "think_off only": lambda make, index, size: make.rollout("think_off", index % 3 > 0),
    "all right": lambda make, index, size: make.rollout(MODES[index % 2], True),
    "all wrong": lambda make, index, size: make.rollout(MODES[index % 2], False),
    "no judge block": lambda make, index, size: make.without_judge() if index % 4 else make.any(),
    "truncated": lambda make, index, size: make.cut() if index % 3 else make.any(),
    "all truncated": lambda make, index, size: make.cut(),
    "forced modes": lambda make, index, size: make.forced(MODES[index]) if index < 2 else make.any(),
    "no reward": lambda make, index, size: make.any(),
    "modes equal": lambda make, index, size: make.rollout(MODES[index % 2], index // 2 < size // 4),
    "garbled": lambda make, index, size: make.garbled() if index % 2 else make.any(),
    "ascii": lambda make, index, size: make.rollout(MODES[index % 2], index % 3 > 0, pool=ASCII_WORDS),
}


def groups(count: int, size: int) -> list[dict[str, Any]]:
    """Returns the groups; each has `size` rollouts."""
    made = []
    for number in range(count):
        sort = list(SORTS)[number % len(SORTS)]
        gold = str(100 + number)
        make = Maker(number, gold)
        rollouts = [SORTS[sort](make, index, size) for index in range(size)]
        # An empty gold can verify nothing: the server gives these rows an error.
        made.append({"query_id": f"q{number}", "question": f"What is {number} + 100?", "kind": "numeric", "sort": sort,
                     "gold": "" if sort == "no reward" else gold, "rollouts": rollouts})
    return made


def rows(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rollouts as `thinkloom reward` and `/v1/reward` read them, group after group."""
    shared = ("query_id", "question", "gold", "kind")
    return [{**{name: group[name] for name in shared}, **rollout} for group in made for rollout in group["rollouts"]]


def read(path: str | Path) -> list[dict[str, Any]]:
    """Reads a file of JSON lines."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(path: str | Path, lines: list[dict[str, Any]]) -> None:
    """Writes a file of JSON lines."""
    with open(path, "w", encoding="ascii") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
