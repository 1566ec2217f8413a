"""GPT-2 in torch, for training only, and low-rank adapters (LoRA) for it.

The state dict has the names of the Hugging Face hub. Dimensions: B sequences of T tokens, width D, vocabulary V.
Linear weights are stored [in, out] as in GPT-2, so the same code reads checkpoints of asr33 and of the hub.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.interface import GPT2Config
from tools.train.attention import attend
from tools.train.memory import HEAD_CHUNK_ROWS

CUDA_LOGITS_AT_ONCE = 1 << 26  # 256 MiB; CUDA is fastest with few large products
LORA_SCALE = 2.0  # alpha / r of the LoRA paper, for every rank

DropoutFunction = Callable[[Tensor], Tensor]
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def no_dropout(x: Tensor) -> Tensor:
    return x


class Linear(nn.Module):
    """x [.., in] @ weight [in, out] + bias [out]."""

    def __init__(self, inputs: int, outputs: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * std)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, residual_std: float) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = Linear(width, 3 * width, 0.02)
        self.c_proj = Linear(width, width, residual_std)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.c_attn(x)
        if x.is_cuda:
            q, k, v = qkv.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        else:
            mixed = attend(qkv, self.heads)
        y: Tensor = self.c_proj(mixed)
        return y


class Mlp(nn.Module):
    def __init__(self, width: int, residual_std: float) -> None:
        super().__init__()
        self.c_fc = Linear(width, 4 * width, 0.02)
        self.c_proj = Linear(4 * width, width, residual_std)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return y


class Block(nn.Module):
    def __init__(self, shape: GPT2Config) -> None:
        super().__init__()
        # GPT-2 divides the weights that write to the residual stream by the root of their number.
        residual_std = 0.02 / math.sqrt(2 * shape.n_layer)
        self.ln_1 = nn.LayerNorm(shape.n_embd, eps=1e-5)
        self.attn = Attention(shape.n_embd, shape.n_head, residual_std)
        self.ln_2 = nn.LayerNorm(shape.n_embd, eps=1e-5)
        self.mlp = Mlp(shape.n_embd, residual_std)

    def forward(self, x: Tensor, drop: DropoutFunction = no_dropout) -> Tensor:
        x = x + drop(self.attn(self.ln_1(x)))
        y: Tensor = x + drop(self.mlp(self.ln_2(x)))
        return y


class Gpt2(nn.Module):
    def __init__(self, shape: GPT2Config) -> None:
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocab_size, shape.n_embd)
        self.wpe = nn.Embedding(shape.n_positions, shape.n_embd)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.01)
        self.h = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.ln_f = nn.LayerNorm(shape.n_embd, eps=1e-5)

    def hidden_states(self, ids: Tensor, drop: DropoutFunction = no_dropout) -> Tensor:
        """ids [B, T] -> normalised last hidden state [B, T, D]."""
        x = drop(self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device)))
        for block in self.h:
            x = block(x, drop)
        y: Tensor = self.ln_f(x)
        return y

    def logits(self, ids: Tensor) -> Tensor:
        """ids [B, T] -> logits [B, T, V]; the head is the embedding."""
        return F.linear(self.hidden_states(ids), self.wte.weight)

    def loss(self, ids: Tensor, targets: Tensor, drop: DropoutFunction = no_dropout) -> Tensor:
        """Mean cross entropy in nats per token; ids and targets [B, T]. `drop` applies to all terms of the stream."""
        hidden = self.hidden_states(ids, drop).flatten(0, 1)
        # torch has no type for Function.apply.
        total: Tensor = _HeadLoss.apply(hidden, self.wte.weight, targets.flatten())  # type: ignore[no-untyped-call]
        return total


class _HeadLoss(torch.autograd.Function):
    """Head and cross entropy together, a chunk of rows at a time, so the logits never exist in whole.

    The forward pass computes the gradient too, while the chunk is still in the cache.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        hidden_input, count = hidden, len(targets)
        hidden, weight = _to_matmul_dtype(hidden), _to_matmul_dtype(weight)
        hidden_grad = torch.empty_like(hidden_input) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), device=hidden.device)
        with _without_autocast(hidden.device):
            for rows in _row_chunks(count, len(weight), hidden.device):
                logits = (hidden[rows] @ weight.t()).float()
                target = targets[rows, None]
                highest = logits.amax(dim=1, keepdim=True)
                chosen = logits.gather(1, target) - highest
                exponentials = logits.sub_(highest).exp_()
                scale = exponentials.sum(dim=1, keepdim=True)
                total += (scale.log() - chosen).sum()
                if hidden_grad is None and weight_grad is None:
                    continue
                probabilities = exponentials.div_(scale)
                slope = probabilities.scatter_add_(1, target, chosen.new_full(target.shape, -1.0))
                slope = slope.div_(count).to(hidden.dtype)
                if hidden_grad is not None:
                    hidden_grad[rows] = slope @ weight
                if weight_grad is not None:
                    _add_product(weight_grad, slope.t(), hidden[rows])
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total / count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return (
            None if hidden_grad is None else hidden_grad * grads[0],
            None if weight_grad is None else weight_grad * grads[0],
            None,
        )


def _to_matmul_dtype(x: Tensor) -> Tensor:
    """x in the precision that the surrounding autocast uses for products."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def _without_autocast(device: torch.device) -> Any:
    """A context without autocast: the head chooses its own precision, and sums in float32."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _row_chunks(count: int, vocabulary: int, device: torch.device) -> list[slice]:
    step = max(HEAD_CHUNK_ROWS, CUDA_LOGITS_AT_ONCE // vocabulary) if device.type == "cuda" else HEAD_CHUNK_ROWS
    return [slice(start, start + step) for start in range(0, count, step)]


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


class LoraLinear(nn.Module):
    """A frozen linear with an adapter: a [in, rank] times b [rank, out]; b is zero at first.

    After E. Hu and others, "LoRA: Low-Rank Adaptation of Large Language Models" (2021). Gradient, optimiser and
    checkpoint are those of the adapters alone.
    """

    def __init__(self, linear: Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        inputs, outputs = linear.weight.shape
        self.linear = linear
        self.a = nn.Parameter(torch.randn(inputs, rank, generator=generator) / math.sqrt(inputs))
        self.b = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) + LORA_SCALE * F.linear(F.linear(x, self.a.t()), self.b.t())
        return y

    @torch.no_grad()
    def merge(self) -> Linear:
        """Adds the adapter to the linear's weights; returns the linear."""
        self.linear.weight.addmm_(self.a, self.b, alpha=LORA_SCALE)
        return self.linear


def add_adapters(net: Gpt2, rank: int, seed: int) -> None:
    """Freezes the net, and adds an adapter to each linear of its blocks."""
    net.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parent, name, linear in _find_children(net, Linear):
        setattr(parent, name, LoraLinear(linear, rank, generator))


def merge_adapters(net: Gpt2) -> None:
    """Merges the adapters into the weights, and unfreezes the net. A net without adapters stays the same."""
    for parent, name, adapted in _find_children(net, LoraLinear):
        setattr(parent, name, adapted.merge())
    net.requires_grad_(True)


def _find_children(net: Gpt2, module_type: type[ModuleT]) -> list[tuple[nn.Module, str, ModuleT]]:
    return [
        (parent, name, child)
        for parent in net.modules()
        for name, child in parent.named_children()
        if isinstance(child, module_type) and not isinstance(parent, LoraLinear)
    ]
