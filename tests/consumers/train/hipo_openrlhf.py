"""Runs `thinkloom.openrlhf` inside OpenRLHF (hipo.py calls this in verl's environment, which has the package).

Usage: hipo_openrlhf.py SCRATCH     (SCRATCH: groups.jsonl, settings.json, models/; OPENRLHF: OpenRLHF's directory)

A copy of OpenRLHF gets the package's patch. Stand-ins replace flash_attn, deepspeed and vllm, which need a GPU, and the
inference engine, which answers from groups.jsonl.

- Writes advantages-SORT.jsonl: for each rollout its token ids and, for each of the settings, the advantage of each
  token. The rollouts pass OpenRLHF's `_load_agent_executor`, the package's `AgentExecutor` (OpenRLHF's single turn),
  `SamplesGenerator._process_response_into_experience`, `Experience.concat_experiences` and the patched
  `RemoteExperienceMaker.compute_advantages_and_returns`.
- Writes rewards-func.jsonl: for each rollout the reward that OpenRLHF's `SingleTurnAgentExecutor` gets from the file.
- The command line accepts the estimator; rows of other workers, and options that do not go, are rejected.
"""
from __future__ import annotations

import asyncio
import contextlib
import importlib.abc
import importlib.machinery
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import hipo_cases
import thinkloom

RECIPES = Path(thinkloom.__path__[0]) / "recipes"
FILE = Path(thinkloom.__path__[0]) / "openrlhf.py"
SORTS = ("plain", "think")
STAND_INS = ("flash_attn", "deepspeed", "vllm")
BATCH = 16


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes modules of packages that need a GPU: whatever they are asked for is a mock."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        is_ours = name.split(".")[0] in STAND_INS
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_ours else None

    def create_module(self, spec: Any) -> Any:
        made = MagicMock(name=spec.name)
        made.__path__, made.__spec__ = [], spec
        return made

    def exec_module(self, module: Any) -> None:
        """There is nothing to run."""


def require(condition: bool, message: str) -> None:
    """Ends the check with a message if the condition does not hold."""
    if not condition:
        sys.exit(f"hipo_openrlhf: {message}")


@contextlib.contextmanager
def raises(word: str) -> Iterator[None]:
    """Requires that the body raises a ValueError with a word in its message."""
    try:
        yield
    except ValueError as error:
        require(word in str(error), f"the error does not name {word!r}: {error}")
    else:
        require(False, f"nothing was raised, expected an error with {word!r}")


def patched(folder: Path) -> None:
    """Copies OpenRLHF, patches the copy, and has it imported from there."""
    copy = folder / "openrlhf"
    shutil.copytree(os.environ["OPENRLHF"], copy)
    with open(RECIPES / "openrlhf_hipo.patch", encoding="utf-8") as patch:
        outcome = subprocess.run(["patch", "-p1", "-d", copy], stdin=patch, capture_output=True, text=True)
    require(outcome.returncode == 0 and "fuzz" not in outcome.stdout, f"patch: {outcome.stdout} {outcome.stderr}")
    sys.path.insert(0, str(copy))
    sys.meta_path.insert(0, StandIns())


class Engine:
    """Stands in for vLLM: answers with the next completion."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.next: dict[str, Any] = {}

    async def generate(self, *_: Any, **__: Any) -> Any:
        ids = self.tokenizer(self.next["completion"], add_special_tokens=False)["input_ids"]
        reason = self.next["finish_reason"]
        ids = ids if reason == "length" else [*ids, self.tokenizer.eos_token_id]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, finish_reason=reason, logprobs=None)])


def label_of(group: dict[str, Any], rollout: dict[str, Any]) -> str:
    """Returns the label of a query, as a JSON object."""
    fields = {name: group[name] for name in ("query_id", "question", "gold", "kind")}
    forced = {"forced_mode": rollout["forced_mode"]} if rollout.get("forced_mode") else {}
    return json.dumps({**fields, **forced})


async def answers_of(executor: Any, tokenizer: Any, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what the rollout workers hand to the trainer."""
    engine = Engine(tokenizer)
    params = SimpleNamespace(max_tokens=4096, logprobs=None)
    found = []
    for group in groups:
        prompt = f"<|im_start|>user\n{group['question']}<|im_end|>\n<|im_start|>assistant\n"
        for rollout in group["rollouts"]:
            engine.next = rollout
            found.append(await executor.execute(prompt, label_of(group, rollout), params, 8192, tokenizer, engine))
    return found


def arguments(**changes: Any) -> Any:
    """Returns the trainer's arguments, as far as the estimator reads them."""
    values = {"init_coef": 0.0, "use_loss": False, **changes}
    penalties = {name: values.get(name) for name in ("overlong_buffer_len", "stop_properly_penalty_coef")}
    return SimpleNamespace(
        algo=SimpleNamespace(advantage=SimpleNamespace(estimator="hipo"),
                             kl=SimpleNamespace(init_coef=values["init_coef"], use_loss=values["use_loss"])),
        reward=SimpleNamespace(**penalties), rollout=SimpleNamespace(n_samples_per_prompt=values.get("samples", 8)))


def maker_of(args: Any) -> Any:
    """Returns OpenRLHF's maker of experiences, without its models."""
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

    made = object.__new__(RemoteExperienceMaker)
    made.strategy, made.advantage_estimator = SimpleNamespace(args=args), args.algo.advantage.estimator
    return made


def experiences_of(answers: list[dict[str, Any]]) -> list[Any]:
    """Returns the batches from which OpenRLHF computes advantages."""
    from openrlhf.trainer.ppo_utils.experience import Experience
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

    generator = object.__new__(SamplesGenerator)
    single = [generator._process_response_into_experience(answer, max_len=8192) for answer in answers]
    for index, experience in enumerate(single):
        experience.index = [index]
    return [Experience.concat_experiences(single[start:start + BATCH], 0) for start in range(0, len(single), BATCH)]


def advantages(folder: Path, sort: str, groups: list[dict[str, Any]], settings: list[dict[str, Any]]) -> None:
    """Writes the advantages that the patched trainer computes."""
    from openrlhf.trainer.ray.vllm_engine import _load_agent_executor
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "models" / sort)
    rows: list[dict[str, Any]] = []
    for values in settings:
        os.environ["THINKLOOM_HIPO"] = json.dumps(values)
        answers = asyncio.run(answers_of(_load_agent_executor(str(FILE)), tokenizer, groups))
        batches = maker_of(arguments()).compute_advantages_and_returns(experiences_of(answers))
        found = [(ids[1:][mask.bool()].tolist(), own[mask.bool()].tolist(), own[~mask.bool()])
                 for batch in batches for ids, mask, own in zip(batch.sequences, batch.action_mask, batch.advantages)]
        require(not any(outside.any() for *_, outside in found), "tokens outside the response have advantages")
        if values is settings[0]:
            rows = [{"token_ids": ids, "advantages": []} for ids, *_ in found]
        for row, (ids, own, _) in zip(rows, found, strict=True):
            require(ids == row["token_ids"], "the rows are in another order")
            row["advantages"].append(own)
    os.environ.pop("THINKLOOM_HIPO")
    hipo_cases.write(folder / f"advantages-{sort}.jsonl", rows)


def rewards(folder: Path, groups: list[dict[str, Any]]) -> str:
    """Writes the rewards that OpenRLHF's own single turn gets from the file's `reward_func`."""
    from openrlhf.utils.agent import SingleTurnAgentExecutor
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "models" / "plain")
    logging.disable(logging.ERROR)  # both the function and OpenRLHF log each response without a reward
    answers = asyncio.run(answers_of(SingleTurnAgentExecutor(str(FILE)), tokenizer, groups))
    logging.disable(logging.NOTSET)
    # OpenRLHF leaves the reward out if the function raises.
    found = [None if answer["reward"] is None else float(answer["reward"]) for answer in answers]
    hipo_cases.write(folder / "rewards-func.jsonl", [{"reward": reward} for reward in found])
    logs = {name for answer in answers for name in answer["extra_logs"]}
    require(logs == {"format_ok", "think_on"}, f"extra_logs: {logs}")
    return f"OpenRLHF's single turn gets {sum(reward is not None for reward in found)} rewards from the file"


def refusals(folder: Path, groups: list[dict[str, Any]]) -> str:
    """Holds the estimator against rows of other workers and options that do not go, and reads labels."""
    import thinkloom.openrlhf as own
    from openrlhf.trainer.ray.vllm_engine import _load_agent_executor
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "models" / "plain")
    answers = asyncio.run(answers_of(_load_agent_executor(str(FILE)), tokenizer, groups[:2]))
    for changes, word in [({"init_coef": 0.1}, "use_loss"), ({"overlong_buffer_len": 10}, "overlong_buffer_len"),
                          ({"stop_properly_penalty_coef": 1.0}, "stop_properly_penalty_coef")]:
        with raises(word):
            maker_of(arguments(**changes)).compute_advantages_and_returns(experiences_of(answers))
    with raises("agent_func_path"):
        other = [{**answer, "extra_logs": {}} for answer in answers]
        maker_of(arguments()).compute_advantages_and_returns(experiences_of(other))
    for values, word in (({"omga": 1}, "omga"), ({"advantage_clip": 0}, "advantage_clip"), ({"omega": -1}, "omega")):
        os.environ["THINKLOOM_HIPO"] = json.dumps(values)
        with raises(word):
            own.options_of()
    os.environ.pop("THINKLOOM_HIPO")
    for label, gold in (("2", "2"), (2.5, 2.5), ('{"gold": 2}', 2), ("{2}", "{2}"), ({"gold": 3}, 3)):
        require(own.read_label(label).get("gold") == gold, f"label {label!r}: {own.read_label(label)}")
    for text, expected in (("4<|im_end|>\n<|endoftext|>", "4"), ("4</s><pad><pad>", "4"), ("4\n", "4\n"),
                           ("4\n</answer>", "4\n</answer>"), ("a <| b |>", "a <| b |>"), ("<pad>" * 5000, "")):
        require(own.without_end_tokens(text) == expected, f"{text[:40]!r} becomes {own.without_end_tokens(text)!r}")
    with raises("labels[0]"):
        own.reward_func(["p4"], ["p"], [""])
    source = (folder / "openrlhf" / "openrlhf" / "cli" / "train_ppo_ray.py").read_text()
    require(source.count('"hipo"]') == 2, "the command line does not know the estimator")
    return "rows of other workers, wrong options, labels and end tokens: as documented"


def main(scratch: str) -> None:
    folder = Path(scratch)
    groups = hipo_cases.read(folder / "groups.jsonl")
    settings = json.loads((folder / "settings.json").read_text())
    patched(folder)
    for sort in SORTS:
        advantages(folder, sort, groups, settings)
    print(rewards(folder, groups))
    print(refusals(folder, groups))


if __name__ == "__main__":
    main(*sys.argv[1:])
