"""Runs `thinkloom.verifiers` inside verifiers (hipo.py calls this in its environment, which has the package).

Usage: hipo_verifiers.py SCRATCH     (SCRATCH: groups.jsonl, settings.json, models/)

- Writes advantages-SORT.jsonl: for each rollout its token ids and, for each of the settings, the advantage of each
  sampled token as `Branch.advantages` of the trace has it.
- Writes rewards-task.jsonl: for each rollout the reward that `Task.score` records for a task with `HipoScoring`; the
  same through a config that plugs the functions, and through the traces' wire form.
- The reward of plain answers, metrics, the event loop while a reply is judged, and traces that do not go.
"""
from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import verifiers.v1 as vf
from transformers import AutoTokenizer

import hipo_cases
from thinkloom import hipo
from thinkloom.verifiers import HipoScoring, assign_advantages, correct

SORTS = ("plain", "think")
PROMPT_IDS = [5, 6, 7]


class SumData(vf.TaskData):
    """A query of the groups."""

    gold: str
    kind: str = "numeric"
    question: str | None = None
    forced_mode: str | None = None


class SumTask(HipoScoring, vf.Task[SumData]):
    """A task with HiPO's reward and metrics."""


class PlainTask(vf.Task[SumData]):
    """A task that rewards a correct answer of any form, as the module's docstring shows."""

    @vf.reward
    async def solved(self, trace: vf.Trace) -> float:
        return await correct(self.data, trace)


def require(condition: bool, message: str) -> None:
    """Ends the check with a message if the condition does not hold."""
    if not condition:
        sys.exit(f"hipo_verifiers: {message}")


@contextlib.contextmanager
def raises(kind: type[Exception], word: str) -> Iterator[None]:
    """Requires that the body raises an error with a word in its message."""
    try:
        yield
    except kind as error:
        require(word in str(error), f"the error does not name {word!r}: {error}")
    else:
        require(False, f"nothing was raised, expected {kind.__name__} with {word!r}")


def task_of(group: dict[str, Any], rollout: dict[str, Any], kind: type[vf.Task] = SumTask, **config: Any) -> vf.Task:
    """Returns the task of a rollout."""
    data = SumData(prompt=group["question"], forced_mode=rollout.get("forced_mode"),
                   **{name: group[name] for name in ("gold", "kind", "question")})
    return kind(data, vf.TaskConfig(**config))


def trace_of(task: vf.Task, reply: str, finish_reason: str = "stop", ids: list[int] | None = None,
             key: str | None = None) -> vf.Trace:
    """Returns the trace of one turn, as a rollout leaves it."""
    own = ids or []
    answer = vf.MessageNode(parent=0, message=vf.AssistantMessage(content=reply), sampled=True,
                            token_ids=PROMPT_IDS[2:] + own, mask=[False] + [True] * len(own))
    nodes = [vf.MessageNode(message=vf.UserMessage(content=task.data.prompt_text), token_ids=PROMPT_IDS[:2],
                            mask=[False] * 2), answer]
    return vf.Trace(task=vf.TraceTask(type=type(task).__name__, data=task.data, key=key or task.key),
                    agent=vf.AgentInfo(config=vf.AgentConfig()), nodes=nodes,
                    calls=[vf.ModelCall(node=1, finish_reason=finish_reason)])


def advantages(folder: Path, sort: str, groups: list[dict[str, Any]], settings: list[dict[str, Any]]) -> None:
    """Writes the advantages of traces."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "models" / sort)
    traces, rows = [], []
    for group in groups:
        for rollout in group["rollouts"]:
            ids = tokenizer(rollout["completion"], add_special_tokens=False)["input_ids"]
            ids = ids if rollout["finish_reason"] == "length" else [*ids, tokenizer.eos_token_id]
            task = task_of(group, rollout)
            traces.append(trace_of(task, rollout["completion"], rollout["finish_reason"], ids, group["query_id"]))
            rows.append({"token_ids": ids, "advantages": []})
    for values in settings:
        metrics = assign_advantages(traces, tokenizer, hipo.HipoSettings(**values))
        require({"think_rate", "groups/both_modes", "accuracy/think_on"} <= set(metrics), f"metrics: {metrics}")
        for trace, row in zip(traces, rows, strict=True):
            [branch] = vf.WireTrace.model_validate(trace.model_dump()).branches
            found = branch.advantages
            is_sampled = branch.sampled_mask
            require(not any(value for value, own in zip(found, is_sampled) if not own), "a prompt has advantages")
            row["advantages"].append([value for value, own in zip(found, is_sampled) if own])
    hipo_cases.write(folder / f"advantages-{sort}.jsonl", rows)
    clipped = assign_advantages(traces, tokenizer, clip=0.25)
    largest = max(abs(value) for trace in traces for value in trace.nodes[1].advantages)
    require(largest == 0.25 and clipped["share/no_reward"] > 0, f"clipped at 0.25, the largest is {largest}")


async def score(task: vf.Task, trace: vf.Trace) -> float | None:
    """Returns the reward that the task records, None for a trace that it cannot judge."""
    try:
        await task.score(trace)
    except vf.TaskError as error:
        require("cannot be verified" in str(error), f"an error without its cause: {error}")
        return None
    return trace.reward


async def rewards(folder: Path, groups: list[dict[str, Any]]) -> str:
    """Writes the rewards of tasks, and compares the ways to them."""
    cases = [(group, rollout) for group in groups for rollout in group["rollouts"]]
    tasks = [task_of(*case) for case in cases]
    # The way in which a response ended is a trace's, but not a reward function's of other trainers.
    traces = [trace_of(task, rollout["completion"]) for task, (_, rollout) in zip(tasks, cases)]
    found = await asyncio.gather(*(score(*pair) for pair in zip(tasks, traces)))
    hipo_cases.write(folder / "rewards-task.jsonl", [{"reward": value} for value in found])
    plugged = {"rewards": {"hipo": {"fn": "thinkloom.verifiers:hipo_reward", "weight": 2.0}},
               "metrics": {"own": {"fn": "thinkloom.verifiers:hipo_metrics"}}}
    count = 0
    for (group, rollout), value, trace in list(zip(cases, found, traces, strict=True))[:200]:
        if value is None:
            continue
        task = task_of(group, rollout, vf.Task, **plugged)
        again = trace_of(task, rollout["completion"])
        await task.score(again)
        require(again.reward == 2.0 * value and again.metrics == trace.metrics, f"plugged: {again.rewards}, {value}")
        wire = vf.WireTrace.model_validate(trace.model_dump())
        wire.rewards, wire.metrics = {}, {}
        await vf.Task(wire.task.data, vf.TaskConfig(**plugged)).score(wire)
        require(wire.reward == 2.0 * value, f"wire: {wire.rewards}, {value}")
        count += 1
    names = {name for trace in traces for name in trace.metrics}
    require(names >= {"acc", "format_ok", "think_on", "no_mode", "truncated"}, f"metrics: {names}")
    return f"{len(cases)} traces scored by Task.score; {count} the same through plugged functions and the wire form"


async def rest() -> str:
    """Holds plain answers, the event loop, and traces that do not go."""
    group = {"gold": "12", "kind": "numeric", "question": "What is 7 + 5?"}
    plain = task_of(group, {}, PlainTask)
    for reply, expected in (("It is \\boxed{12}.", 1.0), ("<think>13?</think> 12", 1.0), ("13", 0.0), ("", 0.0)):
        trace = trace_of(plain, reply)
        await plain.score(trace)
        require(trace.rewards["solved"].score == expected, f"{reply!r}: {trace.rewards}")
    task = task_of(group, {})
    cut = trace_of(task, "<judge>\nA su", "length")
    await task.score(cut)
    require(cut.metrics["truncated"] == 1.0 and cut.metrics["no_mode"] == 1.0, f"a cut reply: {cut.metrics}")
    parsed = trace_of(task, "12")
    parsed.nodes[1].message.reasoning_content = "7 + 5"
    with raises(vf.TaskError, "reasoning parser"):
        await task.score(parsed)

    class Nothing(HipoScoring, vf.Task[vf.TaskData]):
        """A task without a reference answer."""

    own = Nothing(vf.TaskData(prompt="?"))
    with raises(vf.TaskError, "gold, answer, solution"):
        await own.score(trace_of(own, "12"))
    with raises(ValueError, "train"):
        assign_advantages([trace_of(task, "12")], None)
    ticks = 0

    async def clock() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    beside = asyncio.create_task(clock())
    await task.score(trace_of(task, "12"))
    beside.cancel()
    require(ticks > 2, f"the event loop ran {ticks} times while a reply was judged")
    return "plain answers, a cut reply, a parsed one, a task without an answer, traces without tokens: as documented"


def main(scratch: str) -> None:
    folder = Path(scratch)
    groups = hipo_cases.read(folder / "groups.jsonl")
    settings = json.loads((folder / "settings.json").read_text())
    for sort in SORTS:
        advantages(folder, sort, groups, settings)
    print(asyncio.run(rewards(folder, groups)))
    print(asyncio.run(rest()))


if __name__ == "__main__":
    main(*sys.argv[1:])
