"""Holds the proof's model, kernels, sampler, trainings and GGUF reader against plain implementations, on the CPU.

Usage: check_model.py [--gguf FILE] [--svamp FILE]     (needs torch, triton, transformers, numpy before 2.4; a minute)

The kernels run in Triton's interpreter. transformers' Llama reads the directory that `Llama.save` writes.
"""

import argparse
import os
import random
import tempfile
from pathlib import Path

os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, LlamaForCausalLM

import kernels
import tasks
import texts
from gguf import Gguf
from model import Batch, Llama, Row, Shape
from sampler import Sampler
from train import AdamW, FitPlan, ReinforcePlan, Weighted, fit, micro_batches, reinforce
from vocabulary import Tokens, cut

SHAPE = Shape(vocab=61, hidden=96, layers=3, heads=3, kv_heads=1, inner=128)
END = 2


def lively(shape: Shape) -> Llama:
    """A model of random weights large enough that its texts vary."""
    model = Llama(shape, "cpu", torch.float32).randomize(0)
    with torch.no_grad():
        for name, weight in model.weights.items():
            weight.mul_(40 if name == "embedding" else 5 if weight.dim() > 1 else 1)
    return model


def close(name: str, found: torch.Tensor, wanted: torch.Tensor, share: float = 1e-5) -> None:
    found, wanted = found.detach(), wanted.detach()
    error = float((found - wanted).norm() / (wanted.norm() + 1e-12))
    assert error < share, f"{name} differs by {error}"


def check_kernels() -> None:
    """Values and gradients of each kernel."""
    torch.manual_seed(0)

    def compare(name, kernel, plain, *inputs):
        ours, theirs = ([x.clone().requires_grad_(True) for x in inputs] for _ in range(2))
        found, wanted = kernel(*ours), plain(*theirs)
        slope = torch.randn_like(wanted)
        close(name, found, wanted)
        for a, b in zip(torch.autograd.grad(found, ours, slope), torch.autograd.grad(wanted, theirs, slope)):
            close(f"the gradient of {name}", a, b)

    model = Llama(Shape(61, 576, 1, 9, 3, 1536), "cpu", torch.float32)
    positions = torch.tensor([0, 1, 2, 0, 1, 2, 3, 4, 5, 0, 1])
    compare("norm", lambda x, w: kernels.norm(x, w, 1e-5), lambda x, w: F.rms_norm(x, (576,), w, 1e-5),
            torch.randn(21, 576), torch.randn(576))
    compare("rotary", lambda x: kernels.rotary(x, model.cos, model.sin, positions, 12),
            lambda x: model.rotated(x, positions), torch.randn(11, 15, 64))
    compare("swiglu", kernels.swiglu, model.swiglu, torch.randn(7, 3072))


def plain_log_probabilities(logits: torch.Tensor, row: Row) -> torch.Tensor:
    """Log-probabilities of a row's tokens with loss, from the logits of all its tokens."""
    targets = torch.tensor(row.tokens[row.prompt:])
    return F.log_softmax(logits[row.prompt - 1:-1], -1).gather(1, targets[:, None])[:, 0]


def check_transformers(directory: Path) -> None:
    """Logits of packed rows, and greedy texts with and without the kernel of attention."""
    model = lively(SHAPE)
    model.save(directory, "{}")
    theirs = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    rng = random.Random(0)
    rows = [Row([rng.randrange(3, 61) for _ in range(length)], 2) for length in (7, 3, 12, 5)]
    batch = Batch.of(rows, "cpu")
    wanted = [theirs(torch.tensor([row.tokens])).logits[0] for row in rows]
    close("the logits of packed rows", model.logits(model.hidden(batch)), torch.cat(wanted))
    learnt = [plain_log_probabilities(logits, row) for row, logits in zip(rows, wanted)]
    close("log-probabilities", model.log_probabilities(batch), torch.cat(learnt))
    check_kernels_together(model, batch)
    restored = Llama.of_directory(directory, "cpu", torch.float32)
    assert torch.equal(restored.flat, model.flat), "save and load changed the weights"

    prompts = [[rng.randrange(3, 61) for _ in range(rng.randrange(1, 9))] for _ in range(80)]
    greedy = Sampler(model, 256, 80, END, temperature=0.0).sample(prompts, 1, 40)
    for prompt, sampled in zip(prompts, greedy):
        ends = {"eos_token_id": END, "pad_token_id": END}
        ids = theirs.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False, **ends)[0]
        wanted_tokens = ids[len(prompt):].tolist()
        ended = END in wanted_tokens
        wanted_tokens = wanted_tokens[:wanted_tokens.index(END)] if ended else wanted_tokens
        assert (sampled.tokens, sampled.is_ended) == (wanted_tokens, ended), f"greedy texts differ after {prompt}"
    assert 5 < sum(sampled.is_ended for sampled in greedy) < 75, "the check needs texts that end and texts that do not"
    with_kernel = Sampler(model, 4, 80, END, temperature=0.0, kernels=kernels).sample(prompts[:8], 1, 12)
    beginnings = [one.tokens[:12] for one in greedy[:8]]
    assert [one.tokens for one in with_kernel] == beginnings, "the kernel of attention differs"


def check_kernels_together(model: Llama, batch: Batch) -> None:
    """The whole model with the kernels, forwards and backwards."""
    def run() -> list[torch.Tensor]:
        values = model.log_probabilities(batch)
        return [values, *torch.autograd.grad(values.sum(), list(model.weights.values()))]

    wanted, model.kernels = run(), kernels
    for name, found, plain in zip(("values", *model.weights), run(), wanted):
        close(f"the model with kernels ({name})", found, plain, 1e-4)
    model.kernels = None


def check_distribution() -> None:
    """Copies of a prompt follow the model's distribution."""
    torch.manual_seed(1)
    model, prompts = lively(SHAPE), [[5, 9, 11], [7, 3]]
    with torch.no_grad():
        model.weights["embedding"].mul_(0.05)
    sampled = Sampler(model, 4096, 16, END, temperature=1.0).sample(prompts, 2048, 1)
    for place, prompt in enumerate(prompts):
        firsts = [(one.tokens + [END])[0] for one in sampled[place * 2048:(place + 1) * 2048]]
        counts = np.bincount(firsts, minlength=61) / 2048
        logits = model.logits(model.hidden(Batch.of([Row(prompt, len(prompt))], "cpu"))[-1])
        expected = logits.softmax(-1).detach().numpy()
        assert np.abs(counts - expected).max() < 0.05, "first tokens do not follow the distribution"


def check_training() -> None:
    """`fit` learns rows; the gradient of `reinforce` is that of a plain formula; updates raise rewarded responses."""
    model = Llama(SHAPE, "cpu", torch.float32).randomize(0)
    rng = random.Random(0)
    rows = [Row([rng.randrange(3, 61) for _ in range(rng.randrange(4, 12))], 2) for _ in range(32)]
    losses = fit(model, rows, FitPlan(30, 16, 3e-3, 200, 0), lambda *_, **__: None, "check")
    assert losses[-1] < 0.5 * losses[0], f"the loss of fit does not fall: {losses}"
    assert sorted(index for part in micro_batches([5, 1, 9, 3], 10) for index in part) == [0, 1, 2, 3]

    responses = [
        Weighted(row, np.full(len(row.tokens) - 2, 1.0 if index % 2 else -1.0, np.float32))
        for index, row in enumerate(rows)
    ]
    plan = ReinforcePlan(updates=1, rate=0.0, clip=0.2, kl=0.0, tokens_max=60)
    optimizer = AdamW(model)
    values = [model.log_probabilities(Batch.of([one.row], "cpu")) for one in responses]
    plain = -torch.cat([value * torch.from_numpy(one.advantages) for value, one in zip(values, responses)]).mean()
    wanted = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(plain, optimizer.weights)])
    norm = reinforce(model, optimizer, None, responses, plan, random.Random(0))
    assert abs(norm - float(wanted.norm())) < 1e-4 * norm, "the gradient of reinforce differs from the plain formula"

    def means() -> tuple[float, float]:
        with torch.no_grad():
            values = [float(model.log_probabilities(Batch.of([one.row], "cpu")).mean()) for one in responses]
        return float(np.mean(values[1::2])), float(np.mean(values[::2]))

    before = means()
    reference = Llama(SHAPE, "cpu", torch.float32)
    reference.copy_from(model)
    optimizer = AdamW(model)
    for _ in range(5):
        reinforce(model, optimizer, reference, responses, ReinforcePlan(2, 1e-3, 0.2, 0.01, 60), random.Random(0))
    after = means()
    assert after[0] - before[0] > after[1] - before[1], "reinforce does not raise what is rewarded"


def check_texts(svamp: str | None) -> None:
    """Descriptions fit their families, and held-out items are disjoint from the others."""
    rng = random.Random(0)
    seen: dict[str, set[str]] = {}
    for family in tasks.FAMILIES:
        for level in tasks.LEVELS:
            for _ in range(40):
                described = texts.describe(tasks.make(family, level, rng).question)
                seen.setdefault(family, set()).add(" ".join(described.split()[:2]))
    for family, openings in seen.items():
        others = set().union(*(found for other, found in seen.items() if other != family))
        assert len(openings) == 1 and not openings & others, f"{family} is described as {openings}"
    every = tuple(tasks.FAMILIES), tasks.LEVELS
    held, drawn = tasks.draw(500, 1, True, *every, "h"), tasks.draw(1000, 1, False, *every, "q")
    assert len({item.question for item in held + drawn}) == 1500, "an item is both held out and drawn"
    if svamp:
        ids = [item.id.rpartition("-")[2] for part in ("base", "train", "held") for item in tasks.svamp(svamp, part)]
        assert len(ids) == len(set(ids)) == 1000, "the parts of SVAMP overlap"


def check_gguf(path: str, directory: Path) -> None:
    """The cut model gives the full model's logits for texts of the tasks, as transformers computes them."""
    source, rng = Gguf(path), random.Random(0)
    items = [tasks.make(family, level, rng) for family in tasks.FAMILIES for level in (1, 3)]
    corpus = [
        texts.prompt(item.question, item.kind, "think_on") + tasks.thinking(item, rng) + texts.END for item in items
    ]
    tokenizer, ids = cut(source.meta, corpus)
    model = Llama(Shape.of_gguf(source.meta, len(ids)), "cpu", torch.float32).read_gguf(source, ids)
    model.save(directory, tokenizer.to_str())
    ours, theirs = Tokens(directory / "tokenizer.json"), AutoTokenizer.from_pretrained(directory)
    for text in corpus + ["caf\u00e9 \u4e2d \U0001f600 x"]:
        (tokens,) = ours.encode([text])
        known = theirs(text, add_special_tokens=False)["input_ids"]
        assert tokens == known, f"transformers reads other tokens of {text!r}"
        assert ours.decode(tokens) == text
        assert list(ours.begins(tokens)) == [len(ours.decode(tokens[:n]).rstrip("\ufffd")) for n in range(len(tokens))]
    rows = [Row(tokens, 1) for tokens in ours.encode(corpus[:2])]
    with torch.no_grad():
        found = model.log_probabilities(Batch.of(rows, "cpu"))
        full = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
        wanted = [plain_log_probabilities(full(torch.tensor([row.tokens])).logits[0], row) for row in rows]
    close("log-probabilities of the model of the GGUF file", found, torch.cat(wanted), 1e-4)
    # A right reading predicts text: random weights would have about 7 nats a token.
    loss = float(-found.mean())
    assert loss < 3.5, f"the model of the GGUF file does not predict text: {loss} nats a token"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf")
    parser.add_argument("--svamp")
    arguments = parser.parse_args()
    check_kernels()
    with tempfile.TemporaryDirectory() as folder:
        check_transformers(Path(folder) / "tiny")
        check_distribution()
        check_training()
        check_texts(arguments.svamp)
        if arguments.gguf:
            check_gguf(arguments.gguf, Path(folder) / "gguf")
    print("model, kernels, sampler and trainings agree with plain implementations")


if __name__ == "__main__":
    main()
