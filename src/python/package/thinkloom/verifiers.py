"""thinkloom in verifiers 0.4: rewards and metrics of tasks, and HiPO's two advantages of traces.

A task with a reference answer needs one more base class, or one line of its own:

    import verifiers.v1 as vf
    from thinkloom.verifiers import HipoScoring, correct

    class SumData(vf.TaskData):
        gold: str
        kind: str = "numeric"

    class SumTask(HipoScoring, vf.Task[SumData]):       # HiPO's base reward, and metrics
        ...

    class PlainTask(vf.Task[SumData]):                  # any response: 1 if its answer is correct
        @vf.reward
        async def solved(self, trace: vf.Trace) -> float:
            return await correct(self.data, trace)

The functions also plug into the config of a task that knows nothing of thinkloom:

    [env.taskset.task.rewards.thinkloom]
    fn = "thinkloom.verifiers:hipo_reward"              # or thinkloom.verifiers:correct
    [env.taskset.task.metrics.thinkloom]
    fn = "thinkloom.verifiers:hipo_metrics"

The data of a task has the reference answer in `gold`, `answer` or `solution`, and may have `kind`, `choices`, `tests`,
`test_imports`, `entry_point`, `question` (as the dataset has it: an answer that only restates it is wrong) and
`forced_mode`, as the `rl` rows of `thinkloom export` have them.

The response is the trace's last reply as the model wrote it, so the inference server and the renderer must leave the
text whole: with a reasoning parser, which cuts thoughts out, a structured response cannot be read, and the functions
of HiPO raise. A response that cannot be judged (its gold cannot be read, its tests cannot fail) is an error of the
rollout, not a reward of 0. The work is done on another thread: the event loop is free meanwhile.

verifiers' traces have one advantage for each sampled token. `assign_advantages` fills them for groups of traces.
"""
from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import verifiers.v1 as vf

import thinkloom
from thinkloom import hipo
from thinkloom.hipo import HipoSettings

# Fields of a task's data that may hold the reference answer.
GOLDS = ("gold", "answer", "solution")


async def correct(task: vf.TaskData, trace: vf.Trace) -> float:
    """Returns 1 if the last reply's answer is correct, 0 otherwise, whatever the form of the reply.

    Raises:
        thinkloom.ThinkloomError: The reply cannot be judged.
    """
    return float((await graded(task, reply_of(trace), trace)).correct)


async def hipo_reward(task: vf.TaskData, trace: vf.Trace) -> float:
    """Returns HiPO's base reward of the last reply, ACC + 0.2 FORMAT.

    Raises:
        thinkloom.ThinkloomError: The reply cannot be judged.
    """
    found = await graded(task, structured_reply_of(trace), trace)
    return found.correct + HipoSettings.format_weight * found.format_ok


async def hipo_metrics(task: vf.TaskData, trace: vf.Trace) -> dict[str, float]:
    """Returns metrics of the last reply: `acc`, `format_ok`, `think_on`, `no_mode`, `truncated`, each 0 or 1.

    Their means over traces are accuracy, shares, and the think rate (of replies of any mode: without `no_mode`).

    Raises:
        thinkloom.ThinkloomError: The reply cannot be judged.
    """
    found = await graded(task, structured_reply_of(trace), trace)
    return {"acc": float(found.correct), "format_ok": float(found.format_ok),
            "think_on": float(found.mode == hipo.THINK_ON), "no_mode": float(found.mode is None),
            "truncated": float(trace.is_truncated)}


class HipoScoring:
    """Adds `hipo_reward` and `hipo_metrics` to a task: `class MyTask(HipoScoring, vf.Task[MyData])`."""

    data: Any

    @vf.reward
    async def hipo_reward(self, trace: vf.Trace) -> float:
        """Returns HiPO's base reward, ACC + 0.2 FORMAT."""
        return await hipo_reward(self.data, trace)

    @vf.metric
    async def hipo_metrics(self, trace: vf.Trace) -> dict[str, float]:
        """Returns the metrics of `thinkloom.verifiers.hipo_metrics`."""
        return await hipo_metrics(self.data, trace)


def assign_advantages(traces: Sequence[vf.Trace], tokenizer: hipo.Tokenizer, settings: HipoSettings | None = None,
                      clip: float | None = None) -> dict[str, float]:
    """Assigns HiPO's advantages to the sampled tokens of traces: `advantages` of each trace's message node.

    The tokens of judge block and mode tag get one advantage, all later tokens another. A trace that cannot be judged
    gets 0.

    Args:
        traces: Whole groups; traces of the same task are a group. Each has one sampled message, with its tokens (as
            the train client leaves them).
        tokenizer: The transformers tokenizer of the model.
        settings: The settings of the rule; the defaults without it.
        clip: The bound of every advantage's size.

    Returns:
        The metrics of the batch: think rate, accuracy and tokens of each mode, shares of groups and rows.

    Raises:
        ValueError: A trace has several sampled messages, or none with tokens.
    """
    settings = settings or HipoSettings()
    nodes = [sampled_node(trace) for trace in traces]
    ids = [[token for token, is_sampled in zip(node.token_ids, node.mask, strict=True) if is_sampled]
           for node in nodes]
    ends = {end for end in (getattr(tokenizer, "eos_token_id", None), getattr(tokenizer, "pad_token_id", None))
            if end is not None}
    texts = [hipo.completion_text(own, tokenizer, ends) for own in ids]
    forced = [getattr(trace.task.data, "forced_mode", None) or None for trace in traces]
    reasons = [finish_reason_of(trace) for trace in traces]
    given = [row_of(trace.task.data, text, trace) for trace, text in zip(traces, texts, strict=True)]
    rows = [hipo.Scored.of(found, own, text, tokenizer, forced_mode=mode, finish_reason=reason)
            for found, own, text, mode, reason in zip(hipo.grade(given, settings), ids, texts, forced, reasons,
                                                      strict=True)]
    batch = hipo.batch_advantages([group_of(trace) for trace in traces], rows, settings, clip)
    for index, (node, row) in enumerate(zip(nodes, rows, strict=True)):
        parts = batch.judge[index:index + 1], batch.answer[index:index + 1]
        node.advantages = hipo.token_advantages(*parts, [row.judge_tokens], row.tokens)[0].tolist()
    return batch.metrics


async def graded(task: vf.TaskData, reply: str, trace: vf.Trace) -> hipo.Graded:
    """Returns the grade of a reply; raises ThinkloomError for a reply that cannot be judged."""
    found = await hipo.grade_one(row_of(task, reply, trace))
    if found.error is not None:
        raise thinkloom.ThinkloomError(f"task {task.idx if task.name is None else task.name}: {found.error}")
    return found


def row_of(task: vf.TaskData, reply: str, trace: vf.Trace) -> dict[str, Any]:
    """Returns a reply as a row of `thinkloom.reward`."""
    about = fields_of(task)
    gold = next((about[name] for name in GOLDS if about.get(name) is not None), None)
    if gold is None and hipo.is_missing(about.get("tests")):
        raise ValueError(f"the task's data has no field {', '.join(GOLDS)} or tests, only {', '.join(sorted(about))}")
    return hipo.reward_row(trace.id, reply, gold, about, forced_mode=about.get("forced_mode"),
                           finish_reason=finish_reason_of(trace))


def fields_of(task: vf.TaskData) -> Mapping[str, Any]:
    """Returns the fields of a task's data; those of the wire form, too."""
    return {**{name: getattr(task, name) for name in type(task).model_fields}, **(task.model_extra or {})}


def finish_reason_of(trace: vf.Trace) -> str:
    """Returns "length" if the trace was cut, otherwise "stop"."""
    return "length" if trace.is_truncated else "stop"


def reply_of(trace: vf.Trace) -> str:
    """Returns the last reply as the model wrote it; `Trace.last_reply` strips it, which changes its form."""
    reply: str | None = trace.root_reply
    messages = trace.assistant_messages
    if reply is None and messages:
        reply = messages[-1].content
    return reply or ""


def structured_reply_of(trace: vf.Trace) -> str:
    """Returns the last reply; raises ThinkloomError if a reasoning parser has cut its thoughts out."""
    messages = trace.assistant_messages
    if messages and messages[-1].reasoning_content:
        raise thinkloom.ThinkloomError("the last reply has reasoning_content, so its text is not the whole structured "
                                       "response: turn the reasoning parser of the inference server or renderer off")
    return reply_of(trace)


def sampled_node(trace: vf.Trace) -> vf.MessageNode:
    """Returns the trace's one sampled message."""
    nodes = [node for node in trace.nodes if node.sampled]
    if len(nodes) != 1 or not any(nodes[0].mask):
        raise ValueError(f"trace {trace.id} has {len(nodes)} sampled messages, {sum(any(node.mask) for node in nodes)} "
                         "of them with tokens; HiPO's advantages need one, with its tokens (client type `train`)")
    return nodes[0]


def group_of(trace: vf.Trace) -> Hashable:
    """Returns the name of the trace's group: the key of its task."""
    return trace.task.key or trace.task.hash or json.dumps(trace.task.data.model_dump(mode="json"), sort_keys=True)
