"""The optimizer and the two trainings of the proof: on rows (`fit`), and one step by reinforcement (`reinforce`)."""

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from model import Batch, Llama, Row

Log = Callable[..., None]
GRADIENT_NORM_MAX = 1.0
WARM_STEPS_MAX = 40
# The learning rate at the end of `fit`, as a share of its largest.
RATE_AT_END = 0.1
SECONDS_BETWEEN_LINES = 8
# Advantages below this size teach nothing.
ADVANTAGE_MIN = 1e-9


class AdamW:
    """AdamW over all weights of a model, with weights, moments and summed gradients in float32."""

    def __init__(self, model: Llama, betas: tuple[float, float] = (0.9, 0.95), decay: float = 0.0) -> None:
        self.model, self.betas, self.decay, self.steps = model, betas, decay, 0
        self.weights = list(model.weights.values())
        self.master = model.flat.detach().float().clone()
        self.mean, self.square, self.gradient = (torch.zeros_like(self.master) for _ in range(3))
        sizes = [weight.numel() for weight in self.weights]
        self.gradients = [part.view(weight.shape) for part, weight in zip(self.gradient.split(sizes), self.weights)]

    def add(self, loss: torch.Tensor) -> None:
        """Adds the gradient of a loss."""
        found = torch.autograd.grad(loss, self.weights)
        torch._foreach_add_(self.gradients, [gradient.float() for gradient in found])

    @torch.no_grad()
    def step(self, rate: float) -> torch.Tensor:
        """Applies and clears the summed gradient; returns its norm."""
        self.steps += 1
        first, second = self.betas
        norm = self.gradient.norm()
        self.gradient.mul_((GRADIENT_NORM_MAX / (norm + 1e-6)).clamp(max=1.0))
        self.mean.lerp_(self.gradient, 1 - first)
        self.square.mul_(second).addcmul_(self.gradient, self.gradient, value=1 - second)
        scale = (self.square / (1 - second ** self.steps)).sqrt_().add_(1e-8)
        self.master.mul_(1 - rate * self.decay)
        self.master.addcdiv_(self.mean, scale, value=-rate / (1 - first ** self.steps))
        self.model.flat.copy_(self.master)
        self.gradient.zero_()
        return norm


def micro_batches(lengths: list[int], tokens_max: int) -> Iterator[list[int]]:
    """Splits rows, given by their lengths, into batches of at most so many tokens; like lengths stand together."""
    batch, total = [], 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and total + lengths[index] > tokens_max:
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += lengths[index]
    if batch:
        yield batch


@dataclass(frozen=True)
class FitPlan:
    """How `fit` trains."""

    epochs: int
    rows: int
    rate: float
    tokens_max: int
    seed: int
    decay: float = 0.01


def fit(model: Llama, rows: list[Row], plan: FitPlan, log: Log, name: str) -> list[float]:
    """Trains on rows: mean loss over completion tokens, cosine schedule with a short warm-up. Returns some losses."""
    optimizer, began, tokens, losses = AdamW(model, decay=plan.decay), time.monotonic(), 0, []
    per_epoch = max(1, len(rows) // plan.rows)
    steps = plan.epochs * per_epoch
    rng, shown = random.Random(plan.seed), began
    for step in range(steps):
        if step % per_epoch == 0:
            order = rng.sample(range(len(rows)), len(rows))
        at = step % per_epoch * plan.rows
        chosen = [rows[index] for index in order[at:at + plan.rows]]
        learnt = sum(len(row.tokens) - row.prompt for row in chosen)
        total = torch.zeros((), device=model.device)
        for part in micro_batches([len(row.tokens) for row in chosen], plan.tokens_max):
            loss = -model.log_probabilities(Batch.of([chosen[index] for index in part], model.device)).sum() / learnt
            optimizer.add(loss)
            total += loss.detach()
        tokens += sum(len(row.tokens) for row in chosen)
        warm = min(1.0, (step + 1) / max(1, min(WARM_STEPS_MAX, steps // 10)))
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step(plan.rate * warm * (RATE_AT_END + (1 - RATE_AT_END) * cosine))
        if (step + 1) % max(1, steps // 8) == 0:
            losses.append(round(float(total), 4))
            if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
                shown = time.monotonic()
                log("training", name=name, step=step + 1, of=steps, loss=losses[-1])
    seconds = time.monotonic() - began
    log("fit", name=name, rows=len(rows), steps=steps, losses=losses, seconds=round(seconds, 1),
        tokens_per_s=int(tokens / seconds))
    return losses


@dataclass(frozen=True)
class Weighted:
    """A sampled response as a training row, with the advantage of each of its tokens, end token included."""

    row: Row
    advantages: np.ndarray


@dataclass(frozen=True)
class ReinforcePlan:
    """How one step of reinforcement learning updates the model."""

    updates: int
    rate: float
    clip: float
    kl: float
    tokens_max: int


@dataclass(frozen=True)
class Part:
    """A micro-batch of one update, with what does not change while the model does."""

    update: int
    batch: Batch
    advantages: torch.Tensor
    old: torch.Tensor | None
    reference: torch.Tensor | None
    tokens: int


def reinforce(model: Llama, optimizer: AdamW, reference: Llama | None, responses: list[Weighted], plan: ReinforcePlan,
              rng: random.Random) -> float:
    """Updates the model by the clipped objective, mean over tokens, with an optional KL term to the reference.

    The responses are split into `updates` parts; each is one optimizer step. Returns the mean norm of the gradients.
    """
    order = rng.sample(range(len(responses)), len(responses))
    size = -(-len(order) // plan.updates)
    parts = []
    for update in range(plan.updates):
        chosen = [responses[index] for index in order[update * size:(update + 1) * size]]
        parts += prepare(model, reference, update, chosen, plan)
    norms = []
    for update in range(plan.updates):
        for part in parts:
            if part.update == update:
                optimizer.add(objective(model, part, plan))
        norms.append(optimizer.step(plan.rate))
    return float(torch.stack(norms).mean())


@torch.no_grad()
def prepare(model: Llama, reference: Llama | None, update: int, responses: list[Weighted],
            plan: ReinforcePlan) -> list[Part]:
    """Micro-batches of one update. Responses that teach nothing are left out, but count in the mean."""
    tokens = sum(len(response.advantages) for response in responses)
    taught = [
        one for one in responses if reference is not None or np.abs(one.advantages).max(initial=0) > ADVANTAGE_MIN
    ]
    parts = []
    for indices in micro_batches([len(one.row.tokens) for one in taught], plan.tokens_max):
        batch = Batch.of([taught[index].row for index in indices], model.device)
        advantages = np.concatenate([taught[index].advantages for index in indices]).astype(np.float32)
        # The first update starts from the model that sampled, so that its ratios are 1.
        old = model.log_probabilities(batch) if update > 0 else None
        known = reference.log_probabilities(batch) if reference is not None else None
        parts.append(Part(update, batch, torch.from_numpy(advantages).to(model.device), old, known, tokens))
    return parts


def objective(model: Llama, part: Part, plan: ReinforcePlan) -> torch.Tensor:
    """The loss of a micro-batch: its share of the mean over all tokens of the update."""
    new = model.log_probabilities(part.batch)
    ratio = (new - (new.detach() if part.old is None else part.old)).exp()
    gain = torch.minimum(ratio * part.advantages, ratio.clamp(1 - plan.clip, 1 + plan.clip) * part.advantages)
    loss = -gain.sum() / part.tokens
    if part.reference is not None:
        distance = part.reference - new
        loss = loss + plan.kl * (distance.exp() - distance - 1).sum() / part.tokens
    return loss
