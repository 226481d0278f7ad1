"""Makes verl read an export as in its training, up to the items of its data sets (its engines need a GPU).

Usage: verl_data.py TASK OUT.jsonl [--step]     (in the directory of the export; verl 0.7.0 or 0.9.1)

verl's own hydra entry reads verl-TASK.yaml of the current directory, unchanged. Called in verl:
- sft: `verl.trainer.sft_trainer.main` (hydra), `HFModelConfig` (tokenizer, custom_chat_template), `create_sft_dataset` and
  the data set's items. Loss is where `sft_loss` counts: it moves `loss_mask` by one, so the mask is the learnt tokens.
  A config whose `defaults` name `sft_trainer` goes to 0.7.0's `verl.trainer.fsdp_sft_trainer` instead.
- rl: `verl.trainer.main_ppo.main` (hydra, and the checks of the config), `create_rl_dataset`, `SingleTurnAgentLoop.run` with
  a stand-in for the inference server: the prompt's tokens are those that the server is asked to continue.
- rl --step: `load_reward_manager` and its manager score a response of each row: the export's own in sft/, if there is one of
  the same query and mode, otherwise the bare reference answer.
"""

import asyncio
import glob
import json
import os
import sys
from types import SimpleNamespace

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import pyarrow.parquet as pq
import torch
import transformers

import verl

# hydra writes its log of the run outside the export; nothing here touches data, templates or lengths.
OVERRIDES = ["hydra.run.dir=/tmp/verl_data_hydra", "hydra.output_subdir=null", "hydra/job_logging=disabled"]


def parsed(module, entry, task):
    """Returns the config that the module's hydra entry hands to `entry`, which is replaced so that no training starts."""
    found = []
    setattr(module, entry, lambda config, *_, **__: found.append(config))
    sys.argv = [module.__file__, "--config-dir=.", f"--config-name=verl-{task}", *OVERRIDES]
    module.main()
    return found[0]


def to_ids(tokens):
    """transformers 5 gives a mapping where verl 0.7.0 expects a list of tokens."""
    return [int(token) for token in (tokens["input_ids"] if hasattr(tokens, "keys") else tokens)]


def sft_engine(config):
    from omegaconf import open_dict
    from verl.trainer.sft_trainer import create_sft_dataset
    from verl.utils.config import omega_conf_to_dataclass

    model = omega_conf_to_dataclass(config.model)
    with open_dict(config):
        data = create_sft_dataset(config.data.train_files, config.data, model.tokenizer, model.processor,
                                  max_samples=config.data.get("train_max_samples", -1))
    for index in range(len(data)):
        item = data[index]
        yield {"input_ids": item["input_ids"].tolist(), "loss": item["loss_mask"].tolist(), "label": None}


def sft_fsdp(config):
    from verl.trainer.fsdp_sft_trainer import create_sft_dataset
    from verl.utils import hf_tokenizer

    tokenizer = hf_tokenizer(config.model.partial_pretrain)
    data = create_sft_dataset(config.data.train_files, config.data, tokenizer)
    for index in range(len(data)):
        item = data[index]
        length = int(item["attention_mask"].sum())
        # The trainer multiplies the loss of token k by loss_mask[k] (`loss_mask[:, 1:]` beside `input_ids[:, 1:]`).
        loss = [0, *item["loss_mask"][1:length].tolist()]
        yield {"input_ids": item["input_ids"][:length].tolist(), "loss": loss, "label": None}


def sft(task):
    text = open(f"verl-{task}.yaml").read()
    if "sft_trainer_engine" in text:
        from verl.trainer import sft_trainer as module
        config = parsed(module, "run_sft", task)
        return config, list(sft_engine(config)), 0
    from verl.trainer import fsdp_sft_trainer as module
    config = parsed(module, "run_sft", task)
    return config, list(sft_fsdp(config)), 0


class Server:
    """Stands in for the inference server: keeps the prompt, answers with one token."""

    async def generate(self, prompt_ids=None, **_):
        self.prompt = to_ids(prompt_ids)
        return SimpleNamespace(token_ids=[0], log_probs=None, routed_experts=None, num_preempted=None, extra_fields={})


def agent_loop(config, tokenizer, server, dataset_cls):
    from verl.experimental.agent_loop import agent_loop as module
    from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

    wrap = getattr(module, "DictConfigWrap", None)
    common = dict(trainer_config=wrap(config=config), server_manager=server, tokenizer=tokenizer, processor=None,
                  dataset_cls=dataset_cls)
    if hasattr(module.AgentLoopBase, "ct_build_initial_tokens"):
        kind = transformers.AutoConfig.from_pretrained(config.actor_rollout_ref.model.path).model_type
        return SingleTurnAgentLoop(**common, data_config=wrap(config=config.data), hf_model_type=kind)
    # 0.7.0 passes on what `apply_chat_template` returns, for a transformers that returns a list.
    return SingleTurnAgentLoop(**common, dataset_config=config.data)


def rl(task):
    import verl.trainer.main_ppo as module
    try:
        from verl.trainer.ppo.utils import create_rl_dataset
    except ImportError:
        from verl.trainer.main_ppo import create_rl_dataset
    from verl.utils.config import omega_conf_to_dataclass

    config = parsed(module, "run_ppo", task)
    if verl.__version__.startswith("0.7"):  # there the checks are in the worker, not in `main`
        from verl.trainer.ppo.utils import need_critic, need_reference_policy
        from verl.utils.config import validate_config
        validate_config(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    tokenizer = omega_conf_to_dataclass(config.actor_rollout_ref.model).tokenizer
    data = create_rl_dataset(config.data.train_files, config.data, tokenizer, None, is_train=True)
    create_rl_dataset(config.data.val_files, config.data, tokenizer, None, is_train=False)  # trainers load it, too
    total = sum(pq.read_metadata(file).num_rows for file in config.data.train_files)
    items, rows = [data[index] for index in range(len(data))], []

    async def prompts():
        server = Server()
        loop = agent_loop(config, tokenizer, server, type(data))
        for item in items:
            await loop.run({}, **item)
            columns = sorted(key for key in item if key != "dummy_tensor")
            rows.append({"input_ids": server.prompt, "loss": [], "columns": columns,
                         "label": None})

    asyncio.run(prompts())
    return config, rows, total - len(rows), tokenizer, items


def responses():
    """Returns the export's own responses by query and mode."""
    found = {}
    for file in sorted(glob.glob("sft/*.parquet")):
        for row in pq.read_table(file).to_pylist():
            text = row["response"] if "response" in row else row["messages"][-1]["content"]
            found[row["query_id"], row["mode"]] = text
    return found


def rewards(config, rows, tokenizer, items):
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager

    own = responses()
    old = verl.__version__.startswith("0.7") and not config.reward_model.use_reward_loop

    async def scored():
        if not verl.__version__.startswith("0.7"):
            manager = load_reward_manager(config, tokenizer)
        else:  # with use_reward_loop (the default) the worker picks the class of the same name from the reward loop
            from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
            from verl.trainer.ppo.reward import get_custom_reward_fn
            cls = get_reward_manager_cls(config.reward_model.reward_manager)
            manager = cls(config, tokenizer, get_custom_reward_fn(config))
        results = []
        for row, item in zip(rows, items):
            extra = item["extra_info"]
            text = own.get((extra.get("query_id"), extra.get("mode")), item["reward_model"]["ground_truth"])
            prompt = torch.tensor([row["input_ids"]])
            response = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]])
            values = {key: np.array([value], dtype=object) for key, value in item.items() if key != "dummy_tensor"}
            for key in ("extra_info", "reward_model"):
                values[key] = np.empty(1, dtype=object)
                values[key][0] = item[key]
            values.pop("raw_prompt"), values.pop("prompt")
            batch = DataProto.from_dict(
                tensors={"prompts": prompt, "responses": response, "input_ids": torch.cat([prompt, response], 1),
                         "attention_mask": torch.ones(1, prompt.shape[1] + response.shape[1], dtype=torch.long)},
                non_tensors=values)
            results.append(await manager.run_single(batch))
        return results

    assert not old, "reward_model.use_reward_loop is off"
    return asyncio.run(scored())


def main(task, out, *flags):
    tokenizer = items = None
    if task == "sft":
        config, rows, dropped = sft(task)
        limits = {name: config.data.get(name) for name in ("max_length", "truncation", "pad_mode", "max_token_len_per_gpu")}
    else:
        config, rows, dropped, tokenizer, items = rl(task)
        limits = {name: config.data.get(name) for name in ("max_prompt_length", "max_response_length", "filter_overlong_prompts")}
    versions = {"verl": verl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    last = [{"versions": versions, "rows": len(rows), "dropped": dropped, "limits": limits}]
    if "--step" in flags and task == "rl":
        last.append({"rewards": rewards(config, rows, tokenizer, items)})
    with open(out, "w") as file:
        for line in rows + last:
            file.write(json.dumps(line, default=float) + "\n")
    print(json.dumps(last[-1], default=float))


if __name__ == "__main__":
    main(*sys.argv[1:])
