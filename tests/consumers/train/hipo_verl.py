"""Runs `thinkloom.verl` inside verl (hipo.py calls this in verl's environment, which has the package; verl's engines
need a GPU).

Usage: hipo_verl.py SCRATCH     (SCRATCH: groups.jsonl, settings.json, models/)

- verl's hydra entry reads the package's verl_hipo.yaml and checks it; verl itself imports thinkloom.verl through
  VERL_USE_EXTERNAL_MODULES.
- Writes advantages-SORT.jsonl: for each rollout its token ids and, for each of the settings, the advantage of each
  token. On the way the rollouts pass verl's `SingleTurnAgentLoop` (with a stand-in for the inference server, which
  answers from groups.jsonl), `AgentLoopWorker._compute_score` (with one for Ray's handle), the reward manager,
  `AgentLoopOutput.as_dict` and `compute_advantage`, with a padding row of verl's and, once more, rewards rounded to
  bfloat16.
- Writes rewards-naive.jsonl and rewards-batch.jsonl: for each rollout the score that verl's own reward managers get
  from `compute_score` and `compute_score_batched`, which the config names as pkg://thinkloom.verl.
- verl's policy loss on the same batch: its gradient must be minus the advantage over the number of tokens.
- Token rewards of all verdicts and lengths, read back exactly; rewards that are not ours, and options that do not go.
"""
from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["VERL_USE_EXTERNAL_MODULES"] = "thinkloom.verl"

import hydra  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from omegaconf import OmegaConf, open_dict  # noqa: E402
from transformers import AutoConfig, AutoTokenizer  # noqa: E402

import verl.trainer.main_ppo as main_ppo  # noqa: E402

OWN = sys.modules.get("thinkloom.verl")  # verl's doing, up to here

from verl import DataProto  # noqa: E402
from verl.experimental.agent_loop import agent_loop  # noqa: E402
from verl.trainer.ppo.core_algos import get_policy_loss_fn  # noqa: E402
from verl.trainer.ppo.ray_trainer import compute_advantage  # noqa: E402
from verl.trainer.ppo.reward import load_reward_manager  # noqa: E402
from verl.utils.config import omega_conf_to_dataclass  # noqa: E402
from verl.utils.dataset.rl_dataset import RLHFDataset  # noqa: E402
from verl.workers.reward_manager.batch import BatchRewardManager  # noqa: E402

import hipo_cases  # noqa: E402
import thinkloom  # noqa: E402
from thinkloom import _verl_hipo as verl_hipo, hipo  # noqa: E402

RECIPES = Path(thinkloom.__path__[0]) / "recipes"
SORTS = ("plain", "think")
LONGEST = 4096


def require(condition: bool, message: str) -> None:
    """Ends the check with a message if the condition does not hold."""
    if not condition:
        sys.exit(f"hipo_verl: {message}")


@contextlib.contextmanager
def raises(word: str, what: str = "") -> Iterator[None]:
    """Requires that the body raises a ValueError with a word in its message."""
    try:
        yield
    except ValueError as error:
        require(word in str(error), f"{what}: the error does not name {word!r}: {error}")
    else:
        require(False, f"{what}: nothing was raised, expected an error with {word!r}")


def config_of(model: Path) -> Any:
    """Returns verl_hipo.yaml as verl's entry point reads and checks it."""
    found: list[Any] = []
    main_ppo.run_ppo = lambda config, **_: found.append(config)
    sys.argv = ["main_ppo", f"--config-dir={RECIPES}", "--config-name=verl_hipo",
                f"actor_rollout_ref.model.path={model}", "hydra.run.dir=/tmp/hipo_verl_hydra",
                "hydra.output_subdir=null", "hydra/job_logging=disabled"]
    with contextlib.redirect_stdout(io.StringIO()):
        main_ppo.main()
    return found[0]


class Server:
    """Stands in for the inference server: answers with the next completion."""

    def __init__(self) -> None:
        self.next_ids: list[int] = []

    async def generate(self, **_: Any) -> Any:
        return SimpleNamespace(token_ids=self.next_ids, log_probs=None, routed_experts=None, num_preempted=None,
                               extra_fields={})


def agent_of(config: Any, tokenizer: Any, server: Server) -> Any:
    """Returns the agent loop, made as verl's worker makes it."""
    name = config.actor_rollout_ref.rollout.agent.default_agent_loop
    wrap = agent_loop.DictConfigWrap
    kind = AutoConfig.from_pretrained(config.actor_rollout_ref.model.path).model_type
    return hydra.utils.instantiate(
        config=agent_loop._agent_loop_registry[name], trainer_config=wrap(config=config), server_manager=server,
        tokenizer=tokenizer, processor=None, hf_model_type=kind, dataset_cls=RLHFDataset, data_config=wrap(config.data))


def worker_of(manager: Any) -> Any:
    """Returns a worker of verl's whose reward handle is a manager in this process."""
    worker = object.__new__(agent_loop.AgentLoopWorker)
    worker.processor = None
    worker.reward_loop_worker_handles = [SimpleNamespace(compute_score=SimpleNamespace(remote=manager.run_single))]
    return worker


def columns_of(group: dict[str, Any], rollout: dict[str, Any]) -> dict[str, Any]:
    """Returns the row of the data set, as `thinkloom export --format verl` writes it."""
    extra = {name: group[name] for name in ("query_id", "question", "kind")}
    if rollout.get("forced_mode"):
        extra["forced_mode"] = rollout["forced_mode"]
    return {"raw_prompt": [{"role": "user", "content": group["question"]}], "data_source": "thinkloom",
            "uid": group["query_id"], "reward_model": {"ground_truth": group["gold"], "style": "rule"},
            "extra_info": extra}


async def outputs_of(config: Any, tokenizer: Any, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what verl stores of each rollout."""
    server = Server()
    agent, managers = agent_of(config, tokenizer, server), {}

    async def one(group: dict[str, Any], rollout: dict[str, Any]) -> dict[str, Any]:
        ids = tokenizer(rollout["completion"], add_special_tokens=False)["input_ids"]
        is_cut = rollout["finish_reason"] == "length"
        server.next_ids = ids if is_cut else [*ids, tokenizer.eos_token_id]
        output = await agent.run({}, **columns_of(group, rollout))
        require(output.response_ids == server.next_ids, f"verl changes {server.next_ids} to {output.response_ids}")
        limit = len(ids) if is_cut else LONGEST  # a response is cut if it is as long as it may be
        if limit not in managers:
            with open_dict(config):
                config.actor_rollout_ref.rollout.response_length = limit
            managers[limit] = load_reward_manager(config, tokenizer)
        return output, managers[limit], columns_of(group, rollout)

    async def scored(output: Any, manager: Any, columns: dict[str, Any]) -> dict[str, Any]:
        await worker_of(manager)._compute_score([output], kwargs=columns)
        return output.as_dict()

    sampled = [await one(group, rollout) for group in groups for rollout in group["rollouts"]]
    return await asyncio.gather(*(scored(*parts) for parts in sampled))


def batch_of(outputs: list[dict[str, Any]], names: list[str]) -> DataProto:
    """Returns the batch from which verl computes advantages, with one of verl's padding rows at its end."""
    pad = {"rm_scores": torch.zeros(1), "response_mask": torch.zeros(1, dtype=torch.int64)}
    tensors = {name: torch.nn.utils.rnn.pad_sequence([row[name] for row in [*outputs, pad]], batch_first=True)
               for name in pad}
    tensors["token_level_rewards"] = tensors.pop("rm_scores")
    return DataProto.from_dict(tensors=tensors, non_tensors={"uid": np.array([*names, "pad"], dtype=object)})


def advantages_of(batch: DataProto, algorithm: Any) -> torch.Tensor:
    """Returns the advantages that verl's trainer computes."""
    data = DataProto.from_dict(tensors=dict(batch.batch), non_tensors=batch.non_tensor_batch)
    return compute_advantage(data, adv_estimator=algorithm.adv_estimator, config=algorithm).batch["advantages"]


def with_settings(algorithm: Any, values: dict[str, Any]) -> Any:
    """Returns `algorithm` of the config with settings of the rule."""
    return OmegaConf.merge(algorithm, {"hipo": values})


def advantages(folder: Path, sort: str, groups: list[dict[str, Any]], settings: list[dict[str, Any]]) -> str:
    """Writes the advantages that verl computes, and holds verl's policy loss against them."""
    config = config_of(folder / "models" / sort)
    tokenizer = AutoTokenizer.from_pretrained(folder / "models" / sort)
    rows: list[dict[str, Any]] = []
    names = [group["query_id"] for group in groups for _ in group["rollouts"]]
    for values in settings:
        with open_dict(config):
            config.actor_rollout_ref.rollout.response_length = LONGEST
            config.algorithm = with_settings(config.algorithm, {**hipo_defaults(), **values})
        outputs = asyncio.run(outputs_of(config, tokenizer, groups))
        batch = batch_of(outputs, names)
        found = advantages_of(batch, config.algorithm)
        rounded = batch_of([{**row, "rm_scores": row["rm_scores"].bfloat16()} for row in outputs], names)
        is_same = torch.equal(advantages_of(rounded, config.algorithm), found)
        require(is_same, "rewards in bfloat16 give other advantages")
        require(not found[-1].any(), "a padding row has an advantage")
        for index, output in enumerate(outputs):
            score = output["extra_fields"]["reward_extra_info"]["score"]
            total = float(output["rm_scores"].sum())
            require(abs(total - score) < 1e-6, f"token rewards sum to {total}, the reward is {score}")
            if values is settings[0]:
                rows.append({"token_ids": output["responses"].tolist(), "advantages": []})
            rows[index]["advantages"].append(found[index][:len(output["responses"])].tolist())
    hipo_cases.write(folder / f"advantages-{sort}.jsonl", rows)
    return policy_loss(config, found, batch.batch["response_mask"])


def hipo_defaults() -> dict[str, Any]:
    """Returns the defaults of the rule, which one setting after the other replaces."""
    return {name: field.default for name, field in hipo.HipoSettings.__dataclass_fields__.items()}


def policy_loss(config: Any, found: torch.Tensor, mask: torch.Tensor) -> str:
    """Compares the gradient of verl's policy loss with the advantages."""
    options = OmegaConf.merge(config.actor_rollout_ref.actor, {"ppo_micro_batch_size_per_gpu": 1})
    actor = omega_conf_to_dataclass(options)
    logps = torch.full_like(found, -1.0).requires_grad_()
    loss, _ = get_policy_loss_fn("vanilla")(old_log_prob=logps.detach(), log_prob=logps, advantages=found,
                                            response_mask=mask, loss_agg_mode="token-mean", config=actor)
    loss.backward()
    apart = float((logps.grad + found * mask / mask.sum()).abs().max() * mask.sum())
    require(apart < 1e-5 and bool(logps.grad.any()), f"verl's policy loss has another gradient, by {apart:.3g}")
    return f"gradient of the policy loss differs from the advantages by {apart:.2g}; rewards in bfloat16 change nothing"


def reward_config(model: Path) -> Any:
    """Returns the config with the package's reward function in verl's naive manager."""
    config = config_of(model)
    with open_dict(config):
        config.reward.reward_manager.name = "naive"
        config.reward.custom_reward_function.path = "pkg://thinkloom.verl"
        config.reward.custom_reward_function.name = "compute_score"
    return config


def scored_rows(tokenizer: Any, groups: list[dict[str, Any]]) -> list[DataProto]:
    """Returns each rollout as the batch that verl hands to a reward manager."""
    rows = []
    for group in groups:
        for rollout in group["rollouts"]:
            ids = tokenizer(rollout["completion"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
            tensors = {"prompts": torch.tensor([[0]]), "responses": torch.tensor([ids]),
                       "attention_mask": torch.ones(1, len(ids) + 1, dtype=torch.long)}
            values = {}
            for name, value in columns_of(group, rollout).items():
                values[name] = np.empty(1, dtype=object)
                values[name][0] = value
            rows.append(DataProto.from_dict(tensors=tensors, non_tensors=values))
    return rows


def rewards(folder: Path, groups: list[dict[str, Any]]) -> str:
    """Writes the scores of verl's own reward managers."""
    model = folder / "models" / "plain"
    tokenizer, config = AutoTokenizer.from_pretrained(model), reward_config(folder / "models" / "plain")
    rows = scored_rows(tokenizer, groups)

    async def naive(given: list[DataProto]) -> list[Any]:
        manager = load_reward_manager(config, tokenizer)
        return await asyncio.gather(*(manager.run_single(row) for row in given), return_exceptions=True)

    found = []
    for result in asyncio.run(naive(rows)):
        if isinstance(result, Exception):
            require(isinstance(result, ValueError) and "has no reward" in str(result), f"compute_score: {result!r}")
        is_lost = isinstance(result, Exception)
        found.append({"reward": None if is_lost else result["reward_score"]})
    hipo_cases.write(folder / "rewards-naive.jsonl", found)
    lost = [row["reward"] is None for row in found]
    kept = [row for row, is_lost in zip(rows, lost) if not is_lost]
    names = ("reward", "advantage_judge", "advantage_answer", "judge_chars")
    manager = BatchRewardManager(tokenizer, 0, thinkloom.verl.compute_score_batched)
    width = max(row.batch["responses"].shape[1] for row in kept)
    outcome = manager(DataProto.concat([padded(row, width) for row in kept]), return_dict=True)
    extra = outcome["reward_extra_info"]
    columns = zip(outcome["reward_tensor"].sum(1).tolist(), *(extra[name] for name in names[1:]), strict=True)
    lines = [dict.fromkeys(names) if is_lost else dict(zip(names, next(columns), strict=True)) for is_lost in lost]
    hipo_cases.write(folder / "rewards-batch.jsonl", lines)
    settings = {"settings": {"format_weight": 0.5}}
    with open_dict(config):
        config.reward.custom_reward_function.reward_kwargs = settings
    [other] = asyncio.run(naive(kept[:1]))
    require(abs(other["reward_score"] - extra["acc"][0] - 0.5 * extra["format_ok"][0]) < 1e-9, f"{settings}: {other}")
    return f"verl's naive and batch managers score {len(rows)} and {len(kept)} responses with the package's functions"


def padded(row: DataProto, width: int) -> DataProto:
    """Returns a row whose response is as wide as the widest."""
    responses, mask = row.batch["responses"], row.batch["attention_mask"]
    space = width - responses.shape[1]
    pad = torch.nn.functional.pad
    tensors = {"prompts": row.batch["prompts"], "responses": pad(responses, (0, space)),
               "attention_mask": pad(mask, (0, space))}
    return DataProto.from_dict(tensors=tensors, non_tensors=row.non_tensor_batch)


def encoding() -> str:
    """Writes and reads the token rewards of every verdict, length and end of the judge block."""
    count = 0
    for weight, width in itertools.product((0.0, 0.2, 0.5, 1.0), (2, 3, 4, 9, 300)):
        settings = hipo.HipoSettings(format_weight=weight)
        verdicts = itertools.product((*hipo.MODES, None), (False, True), (False, True), (False, True))
        ends = {0, 1, 2, width - 2, width - 1, width}
        for (mode, correct, format_ok, has_reward), end in itertools.product(verdicts, ends):
            verdict = (mode, correct, format_ok) if has_reward else (None, False, False)
            row = verl_hipo.scored(*verdict, has_reward, width, end)
            values = verl_hipo.token_rewards(row, width, settings)
            padded = np.concatenate([values, np.zeros(3, dtype=np.float32)])
            for kept in (padded, torch.from_numpy(padded).bfloat16().float().numpy()):
                found = verl_hipo.read_token_rewards(kept, width, settings)
                require(found == row, f"{row}, {width} tokens: read as {found}")
            require(abs(values.sum() - row.base_reward(settings)) < 1e-6, f"{row}: sums to {values.sum()}")
            count += 1
    return f"token rewards: {count} verdicts read back, in float32 and bfloat16"


def refusals(folder: Path, groups: list[dict[str, Any]]) -> str:
    """Holds the adapter against rewards that are not its own and options that do not go."""
    settings, row = hipo.HipoSettings(), verl_hipo.scored("think_on", True, True, True, 5, 2)
    ours = verl_hipo.token_rewards(row, 5, settings)
    foreign = {"one reward at the end": [0, 0, 0, 0, 1.2], "nothing": [0, 0, 0, 0, 0], "noise": [0.1, 0.2, 0, 0, 1],
               "a penalty per token": ours - 0.01, "half": ours / 2, "another reward": ours + [0, 0, 0, 0.5, 0]}
    for name, values in foreign.items():
        with raises("hipo_agent", name):
            verl_hipo.read_token_rewards(np.array(values, dtype=np.float32), 5, settings)
    config = config_of(folder / "models" / "plain")
    tokenizer = AutoTokenizer.from_pretrained(folder / "models" / "plain")
    rewards, mask = torch.from_numpy(ours)[None], torch.ones(1, 5)
    for change, word in [({"use_kl_in_reward": True}, "use_kl_loss"), ({"hipo": {"omega": -1}}, "omega"),
                         ({"hipo": {"omga": 1}}, "omga"), ({"hipo": {"reward_url": ""}}, "reward_url"),
                         ({"hipo": {"advantage_clip": 0}}, "advantage_clip")]:
        with raises(word, str(change)), open_dict(config):
            verl_hipo.hipo_advantage(rewards, mask, ["q"], OmegaConf.merge(config.algorithm, change))
    clipped = with_settings(config.algorithm, {"advantage_clip": 0.01})
    both = [verl_hipo.scored(mode, mode == "think_on", True, True, 5, 2) for mode in hipo.MODES]
    two = torch.stack([torch.from_numpy(verl_hipo.token_rewards(each, 5, settings)) for each in both])
    largest = float(verl_hipo.hipo_advantage(two, torch.ones(2, 5), ["q", "q"], clipped)[0].abs().max())
    require(abs(largest - 0.01) < 1e-8, f"clipped at 0.01, the largest advantage is {largest}")
    with open_dict(config), raises("custom_reward_function"):
        config.reward.custom_reward_function.path = "pkg://thinkloom.verl"
        load_reward_manager(config, tokenizer)
    with raises("reward_model.enable"):
        verl_hipo.HipoRewardManager.assemble_rm_scores(None, [])
    return "rewards of another origin and wrong options: refused"


def main(scratch: str) -> None:
    folder = Path(scratch)
    groups = hipo_cases.read(folder / "groups.jsonl")
    settings = json.loads((folder / "settings.json").read_text())
    require(OWN is thinkloom.verl, "verl did not import thinkloom.verl")
    print(encoding())
    print(rewards(folder, groups))
    print(refusals(folder, groups))
    for sort in SORTS:
        print(f"{sort}: {advantages(folder, sort, groups, settings)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
