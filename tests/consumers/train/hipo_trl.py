"""Runs `thinkloom.trl` inside TRL (hipo.py calls this in TRL's environment, which has the package).

Usage: hipo_trl.py SCRATCH                    (SCRATCH: groups.jsonl, settings.json, models/)
       hipo_trl.py SCRATCH --train OUT.pt     (one process of a training, alone or under torch.distributed.run)
       hipo_trl.py SCRATCH --fail             (one process of a batch that the last process fails to grade)

- Writes advantages-SORT.jsonl: for each rollout its token ids and, for each of the settings, the advantage of each
  token as `_generate_and_score_completions` returns them. Only the sampling is replaced: completions come from
  groups.jsonl.
- Writes rewards-SORT.jsonl: for each rollout the reward of `thinkloom_reward` in a plain GRPOTrainer, as TRL's own
  `_calculate_rewards` returns it; for text and conversational prompts.
- The loss: for each loss type, the gradient must be that of the sum of advantage times log-probability.
- Ten steps with TRL's own sampling, text and conversational prompts, forced modes, two iterations per batch: all
  metrics appear, forced prompts end with their tag.
- Two steps of the module's command line, from a config like that of `thinkloom export`.
- Ten steps of one process and of two (gloo; each group on both): equal advantages and weights.
- Rows without a reward, a failure to grade (in one process and in one of two), and options that do not go.
"""
from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

import hipo_cases
import thinkloom
from thinkloom import hipo
from thinkloom.trl import HipoConfig, HipoGRPOTrainer, thinkloom_reward

SORTS = ("plain", "think")
LOSSES = ("dapo", "grpo", "bnpo", "dr_grpo", "cispo")
COLUMNS = ("query_id", "question", "gold", "kind")
STEPS = 10
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


class Script:
    """Takes completions from the groups: those of the query, in order, where TRL would sample."""

    script: dict[str, list[list[int]]]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        first = self.accelerator.process_index * len(inputs)
        self.next_ids = [self.script[row["query_id"]][(first + index) % self.num_generations]
                         for index, row in enumerate(inputs)]
        return super()._generate_and_score_completions(inputs)

    def _generate_single_turn(self, *_: Any, **__: Any) -> tuple:
        return copy.deepcopy(self.next_ids), None


class Scripted(Script, HipoGRPOTrainer):
    """HiPO's trainer with scripted completions."""


class Plain(Script, GRPOTrainer):
    """TRL's trainer with scripted completions, which keeps the rewards of each batch."""

    def _calculate_rewards(self, *parts: Any) -> torch.Tensor:
        self.rewards = super()._calculate_rewards(*parts)
        return self.rewards


def require(condition: bool, message: str) -> None:
    """Ends the check with a message if the condition does not hold."""
    if not condition:
        sys.exit(f"hipo_trl: {message}")


def script_of(groups: list[dict[str, Any]], tokenizer: Any) -> dict[str, list[list[int]]]:
    """Returns the token ids of each group's completions; a completion that stopped has its end token."""
    ends = {"stop": [tokenizer.eos_token_id], "length": []}
    return {group["query_id"]: [
        tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + ends[row["finish_reason"]]
        for row in group["rollouts"]] for group in groups}


def config_values(folder: Path) -> dict[str, Any]:
    """Returns options for this machine."""
    return {"output_dir": str(folder / "trained"), "use_cpu": True, "bf16": False, "report_to": "none",
            "num_generations": 8, "per_device_train_batch_size": 8, "max_completion_length": 256,
            "save_strategy": "no", "logging_steps": 1, "learning_rate": 1e-3, "max_steps": STEPS,
            "disable_tqdm": True, "gradient_checkpointing": False}


def config(folder: Path, **options: Any) -> HipoConfig:
    """Returns HiPO's config for this machine."""
    return HipoConfig(**{**config_values(folder), **options})


def dataset_of(groups: list[dict[str, Any]], is_chat: bool = False) -> Dataset:
    """Returns the rows that TRL trains on."""
    return Dataset.from_list([
        {"prompt": [{"role": "user", "content": group["question"]}] if is_chat else group["question"],
         **{name: group[name] for name in COLUMNS}} for group in groups])


def trainer_of(kind: type, model: Path, args: HipoConfig, data: Dataset, groups: list[dict[str, Any]]) -> Any:
    """Returns a trainer of a fresh copy of the tiny model."""
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    made = kind(AutoModelForCausalLM.from_pretrained(model, dtype="float32"), args, data, processing_class=tokenizer)
    made.remove_callback(PrinterCallback)
    if issubclass(kind, Script):
        made.script = script_of(groups, tokenizer)
    return made


def inputs_of(groups: list[dict[str, Any]], is_chat: bool = False) -> list[dict[str, Any]]:
    """Returns the rows of a generation batch: each rollout with its query's columns."""
    prompts = [[{"role": "user", "content": group["question"]}] if is_chat else group["question"] for group in groups]
    return [{"prompt": prompt, "forced_mode": row.get("forced_mode"), **{name: group[name] for name in COLUMNS}}
            for prompt, group in zip(prompts, groups) for row in group["rollouts"]]


def rewards(folder: Path, model: Path, groups: list[dict[str, Any]], is_chat: bool) -> None:
    """Writes the rewards that a plain GRPOTrainer gets from `thinkloom_reward`."""
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    args = GRPOConfig(**config_values(folder))
    made = Plain(AutoModelForCausalLM.from_pretrained(model, dtype="float32"), [thinkloom_reward], args,
                 train_dataset=dataset_of(groups, is_chat), processing_class=tokenizer)
    made.script = script_of(groups, tokenizer)
    made.model.train()
    found: list[float] = []
    for start in range(0, len(groups), 25):
        made._generate_and_score_completions(inputs_of(groups[start:start + 25], is_chat))
        found += made.rewards[:, 0].tolist()
    lines = [{"reward": None if math.isnan(value) else value} for value in found]
    hipo_cases.write(folder / f"rewards-{model.name}.jsonl", lines)


def advantages(folder: Path, model: Path, groups: list[dict[str, Any]], settings: list[dict[str, Any]]) -> None:
    """Writes the advantages that the trainer computes."""
    rows: list[dict[str, Any]] = []
    for values in settings:
        options = {f"hipo_{name}": value for name, value in values.items()}
        made = trainer_of(Scripted, model, config(folder, **options), dataset_of(groups), groups)
        made.model.train()
        index = 0
        for start in range(0, len(groups), 25):
            output = made._generate_and_score_completions(inputs_of(groups[start:start + 25]))
            masks = output["completion_mask"].bool()
            for ids, mask, found in zip(output["completion_ids"], masks, output["advantages"], strict=True):
                require(found.shape == ids.shape, f"advantages of shape {tuple(found.shape)}, ids {tuple(ids.shape)}")
                if values is settings[0]:
                    rows.append({"token_ids": ids[mask].tolist(), "advantages": []})
                rows[index]["advantages"].append(found[mask].tolist())
                index += 1
    hipo_cases.write(folder / f"advantages-{model.name}.jsonl", rows)


def gradients(folder: Path, model: Path, groups: list[dict[str, Any]]) -> str:
    """Compares the gradient of each loss with that of the sum of advantage times log-probability."""
    largest = 0.0
    for loss_type in LOSSES:
        # CISPO bounds ratios at epsilon_high itself, so it must be above 1.
        args = config(folder, loss_type=loss_type, epsilon_high=5.0)
        made = trainer_of(Scripted, model, args, dataset_of(groups), groups)
        made.model.train()
        inputs = made._generate_and_score_completions(inputs_of(groups))
        made.current_gradient_accumulation_steps = 1
        found = gradient_of(made, inputs, lambda made, inputs: made.compute_loss(made.model, inputs))
        expected = gradient_of(made, inputs, reference_loss)
        require(expected.abs().max() > 1e-4, f"{loss_type}: the gradient is 0")
        largest = max(largest, float((found - expected).abs().max() / expected.abs().max()))
    require(largest < 1e-4, f"gradients differ by {largest:.3g} of the largest element")
    return f"gradients of {', '.join(LOSSES)}: as advantage times log-probability, up to {largest:.2g} of the largest"


def gradient_of(made: Any, inputs: dict[str, Any], loss: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Returns the gradient of a loss as one vector."""
    made.model.zero_grad()
    loss(made, inputs).backward()
    return torch.cat([parameter.grad.flatten().clone() for parameter in made.model.parameters()])


def reference_loss(made: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Returns the policy gradient's loss with each token's own advantage, from plain logits."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    # The class's own forward: TRL replaces that of the instance.
    logits = type(made.model).forward(made.model, input_ids=ids, attention_mask=mask, use_cache=False).logits
    logps = logits.log_softmax(-1)
    width, taken = inputs["completion_ids"].size(1), inputs["completion_mask"]
    logps = logps[:, -width - 1:-1].gather(2, inputs["completion_ids"][:, :, None])[:, :, 0]
    terms = -inputs["advantages"] * logps * taken
    if made.loss_type == "grpo":
        return (terms.sum(1) / taken.sum(1)).mean()
    if made.loss_type == "dr_grpo":
        return terms.sum() / (len(terms) * made.max_completion_length)
    return terms.sum() / taken.sum()


@contextlib.contextmanager
def raises(kind: type[Exception], word: str) -> Iterator[None]:
    """Requires that the body raises an error with a word in its message."""
    try:
        yield
    except kind as error:
        require(word in str(error), f"the error does not name {word!r}: {error}")
    else:
        require(False, f"nothing was raised, expected {kind.__name__} with {word!r}")


@contextlib.contextmanager
def grading(grade: Callable[..., list[hipo.Graded]]) -> Iterator[None]:
    """Puts a function in place of `hipo.grade` while the body runs."""
    own, hipo.grade = hipo.grade, grade
    try:
        yield
    finally:
        hipo.grade = own


def with_losses(rows: list[dict[str, Any]], settings: hipo.HipoSettings, grade: Any = hipo.grade) -> list[hipo.Graded]:
    """Grades rows, and gives every third an error."""
    return [hipo.Graded(None, False, False, 0, "lost") if index % 3 == 0 else graded
            for index, graded in enumerate(grade(rows, settings))]


def failing(rows: list[dict[str, Any]], settings: hipo.HipoSettings) -> list[hipo.Graded]:
    """Fails to grade rows."""
    raise thinkloom.ThinkloomError("no grades today")


def bad_input(folder: Path, model: Path, groups: list[dict[str, Any]]) -> str:
    """Holds the trainer against rows without a reward, a failure to grade, and options that do not go."""
    made = trainer_of(Scripted, model, config(folder), dataset_of(groups), groups)
    made.model.train()
    with grading(with_losses):
        output = made._generate_and_score_completions(inputs_of(groups))
    lost = output["advantages"][::3]
    require(not lost.any(), "rows without a reward have an advantage")
    require(output["advantages"].any(), "rows beside those without a reward have no advantage")
    require(made._metrics["train"]["hipo/share/no_reward"][0] > 0.3, "rows without a reward are not counted")
    with raises(thinkloom.ThinkloomError, "no grades today"), grading(failing):
        made._generate_and_score_completions(inputs_of(groups))
    clipped = trainer_of(Scripted, model, config(folder, hipo_advantage_clip=0.5), dataset_of(groups), groups)
    clipped.model.train()
    largest = clipped._generate_and_score_completions(inputs_of(groups))["advantages"].abs().max()
    require(largest == 0.5, f"clipped at 0.5, the largest advantage is {largest}")
    for options, word in [({"scale_rewards": "none"}, "scale_rewards"), ({"reward_weights": [2.0]}, "reward_weights"),
                          ({"use_liger_kernel": True}, "use_liger_kernel"), ({"hipo_omega": -1.0}, "omega"),
                          ({"hipo_boost": "some"}, "relative, margin"),
                          ({"hipo_advantage_clip": 0.0}, "advantage_clip"),
                          ({"hipo_force_modes": True, "num_generations": 2}, "num_generations")]:
        with raises(ValueError, word):
            config(folder, **options)
    with raises(ValueError, "reward_funcs"):
        HipoGRPOTrainer(str(model), config(folder), dataset_of(groups), reward_funcs=[len])
    forced = trainer_of(Scripted, model, config(folder, hipo_force_modes=True), dataset_of(groups), groups)
    forced.model.train()
    with raises(ValueError, "forced_mode"):
        forced._generate_and_score_completions([{**row, "forced_mode": "think_on"} for row in inputs_of(groups)])
    nothing = trainer_of(Scripted, model, config(folder), dataset_of(groups), groups)
    with raises(ValueError, "`gold` or `solution`"):
        nothing._generate_and_score_completions([{"prompt": row["prompt"], "query_id": row["query_id"]}
                                                 for row in inputs_of(groups)])
    with raises(ValueError, "`gold` or `solution`"):
        thinkloom_reward(["1 + 1"], ["2"], query_id=["q"])
    return "rows without a reward, a failure to grade and wrong options: as documented"


def own_sampling(folder: Path, model: Path, groups: list[dict[str, Any]], is_chat: bool) -> str:
    """Trains ten steps with TRL's own sampling and forced modes."""
    variant = {"importance_sampling_level": "sequence", "loss_type": "grpo", "beta": 0.04} if is_chat else {}
    args = config(folder, hipo_force_modes=True, num_iterations=2, gradient_accumulation_steps=2,
                  max_completion_length=24, **variant)
    made = trainer_of(HipoGRPOTrainer, model, args, dataset_of(groups, is_chat), groups)
    ends, generate = [], made._generate_single_turn

    def watched(prompt_ids: list, *rest: Any, **options: Any) -> tuple:
        ends.extend(made._tokenizer.decode(ids)[-80:] for ids in prompt_ids[:3])
        return generate(prompt_ids, *rest, **options)

    made._generate_single_turn = watched
    made.train()
    for place, mode in enumerate(hipo.MODES):
        forced = hipo.prefill(mode, args.hipo_forced_justification)
        require(ends[place].endswith(forced), f"a prompt ends with {ends[place]!r}, not {forced!r}")
    require("<judge>" not in ends[2], f"the third prompt is forced, too: {ends[2]!r}")
    ends.clear()
    found = made.evaluate(dataset_of(groups[:2], is_chat))
    require(ends != [] and not any("<judge>" in end for end in ends), f"a prompt of the evaluation is forced: {ends}")
    require("eval_hipo/share/no_reward" in found or "eval_hipo/share/no_reward" in made.state.log_history[-1],
            f"the evaluation has no metrics of HiPO: {found}")
    logs = [entry for entry in made.state.log_history if "loss" in entry]
    seen = {name for entry in logs for name in entry if name.startswith("hipo/")}
    wanted = {f"hipo/{name}" for name in (
        "groups/both_modes", "groups/adjusted", "share/no_mode", "share/no_judge", "share/truncated",
        "share/ids_mismatch", "share/no_reward", "accuracy/think_on", "accuracy/think_off", "tokens/think_on",
        "tokens/think_off")}
    require(len(logs) == STEPS and wanted <= seen, f"{len(logs)} logs; metrics missing: {wanted - seen}")
    shares = [entry["hipo/groups/both_modes"] for entry in logs if "hipo/groups/both_modes" in entry]
    require(set(shares) == {1.0}, f"forced groups do not have both modes: {shares}")
    kind = "messages" if is_chat else "text"
    return f"{STEPS} steps of TRL's own sampling ({kind}, forced modes): both modes in every group"


def train(folder: Path, out: Path) -> None:
    """Trains ten steps on scripted completions; each process stores its advantages, and the first the weights."""
    groups = json.loads((folder / "train.json").read_text())
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    args = config(folder, per_device_train_batch_size=8 // processes, max_grad_norm=0.0,
                  ddp_backend="gloo" if processes > 1 else None)
    made = trainer_of(Scripted, folder / "models" / "plain", args, dataset_of(groups), groups)
    kept, score = [], made._generate_and_score_completions

    def keeping(inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = score(inputs)
        kept.extend(row[mask.bool()].tolist() for row, mask in zip(output["advantages"], output["completion_mask"]))
        return output

    made._generate_and_score_completions = keeping
    made.train()
    weights = made.accelerator.unwrap_model(made.model).state_dict()
    torch.save({"advantages": kept, "weights": weights}, f"{out}.{made.accelerator.process_index}")
    made.accelerator.end_training()


def command_line(folder: Path, groups: list[dict[str, Any]]) -> str:
    """Trains two steps with the module's command line, from a config like that of `thinkloom export`."""
    (folder / "rl").mkdir()
    dataset_of(groups).to_parquet(folder / "rl" / "train.parquet")
    (folder / "trl-rl.yaml").write_text(
        f"model_name_or_path: {folder / 'models' / 'plain'}\ndataset_name: ./rl\noutput_dir: trained-rl\n"
        "reward_funcs: [trl_reward.thinkloom_reward]\nmax_completion_length: 8\n")
    options = {"config": "trl-rl.yaml", "hipo_omega": "0.05", "hipo_boost": "margin", "hipo_force_modes": "true",
               "use_cpu": "true", "bf16": "false", "report_to": "none", "max_steps": "2"}
    command = [sys.executable, "-m", "thinkloom.trl"]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder)
    require(outcome.returncode == 0, f"python -m thinkloom.trl: {outcome.stderr[-3000:]}")
    require((folder / "trained-rl" / "model.safetensors").exists(), "python -m thinkloom.trl stores no model")
    kept = torch.load(folder / "trained-rl" / "training_args.bin", weights_only=False)
    require(type(kept) is HipoConfig, f"the stored config is a {type(kept)}")
    return "`python -m thinkloom.trl` trains from an exported config"


def processes(folder: Path, groups: list[dict[str, Any]]) -> str:
    """Compares a training of one process with one of two, where each group is on both."""
    (folder / "train.json").write_text(json.dumps(groups))
    for name, launcher in (("one", []), ("two", TWO_PROCESSES)):
        command = [sys.executable, *launcher, __file__, str(folder), "--train", str(folder / name)]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=600)
        require(outcome.returncode == 0, f"training of {name}: {outcome.stderr[-3000:]}")
    one = torch.load(folder / "one.0", weights_only=False)
    two = [torch.load(folder / f"two.{rank}", weights_only=False) for rank in range(2)]
    joined = [row for step in range(STEPS) for part in two for row in part["advantages"][4 * step:4 * step + 4]]
    lengths = [[len(row) for row in rows] for rows in (joined, one["advantages"])]
    require(lengths[0] == lengths[1], "two processes: other rows than those of one")
    apart = max(abs(a - b) for ours, theirs in zip(joined, one["advantages"]) for a, b in zip(ours, theirs))
    start = AutoModelForCausalLM.from_pretrained(folder / "models" / "plain", dtype="float32").state_dict()
    moved = max(float((one["weights"][name] - value).abs().max()) for name, value in start.items())
    weights = max(float((one["weights"][name] - value).abs().max()) for name, value in two[0]["weights"].items())
    require(apart == 0.0, f"two processes: advantages differ by {apart:.3g}")
    found = f"advantages differ by {apart:g}, weights by {weights:.2g} (training moved them by {moved:.2g})"
    require(moved > 1e-3 and weights < 1e-4, f"two processes: {found}")
    return f"{STEPS} steps of two processes and of one: {found}"


def fail(folder: Path) -> None:
    """Scores a batch that the last process fails to grade."""
    groups = json.loads((folder / "train.json").read_text())[:1]
    args = config(folder, per_device_train_batch_size=4, ddp_backend="gloo")
    made = trainer_of(Scripted, folder / "models" / "plain", args, dataset_of(groups), groups)
    made.model.train()
    index = made.accelerator.process_index
    own = inputs_of(groups)[4 * index:4 * index + 4]
    try:
        with grading(failing if index == 1 else hipo.grade):
            made._generate_and_score_completions(own)
    except thinkloom.ThinkloomError as error:
        (folder / f"failed.{index}").write_text(str(error))
    finally:
        made.accelerator.end_training()  # a process that leaves gloo's threads behind sometimes aborts at its end


def failure(folder: Path) -> str:
    """Holds that all processes raise if one fails to grade: otherwise the others wait for it."""
    command = [sys.executable, *TWO_PROCESSES, __file__, str(folder), "--fail"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300)
    require(outcome.returncode == 0, f"two processes, one fails: {outcome.stderr[-3000:]}")
    said = [(folder / f"failed.{index}").read_text() for index in range(2)]
    require("another process" in said[0] and said[1] == "no grades today", f"two processes, one fails: {said}")
    return "two processes, one fails to grade: both raise"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--fail", action="store_true")
    options = parser.parse_args()
    if options.fail:
        fail(options.scratch)
        return
    if options.train:
        train(options.scratch, options.train)
        return
    groups = hipo_cases.read(options.scratch / "groups.jsonl")
    settings = json.loads((options.scratch / "settings.json").read_text())
    for sort in SORTS:
        advantages(options.scratch, options.scratch / "models" / sort, groups, settings)
        rewards(options.scratch, options.scratch / "models" / sort, groups, sort == "think")
    plain = options.scratch / "models" / "plain"
    graded = [group for group in groups if group["sort"] != "no reward"]
    few = graded[:12]
    print(gradients(options.scratch, plain, few))
    print(bad_input(options.scratch, plain, few))
    for sort, is_chat in (("plain", False), ("think", True)):
        print(own_sampling(options.scratch, options.scratch / "models" / sort, few, is_chat))
    print(command_line(options.scratch, few))
    print(processes(options.scratch, few))
    print(failure(options.scratch))


if __name__ == "__main__":
    main()
