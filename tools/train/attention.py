"""Causal attention for a CPU core, in blocks of query rows, with its gradient.

torch's fused attention is made for many cores and long rows. On one core, at the contexts of GPT-2, plain matrix
products of a block of rows with the keys up to its end take half its time in bfloat16, and two thirds in float32.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tools.train.memory import ATTENTION_BLOCK_ROWS


def attend(qkv: Tensor, heads: int) -> Tensor:
    """qkv [B, T, 3 D] -> mixed values [B, T, D]."""
    # torch has no type for Function.apply.
    mixed: Tensor = _BlockAttention.apply(qkv, heads)  # type: ignore[no-untyped-call]
    return mixed


class _BlockAttention(torch.autograd.Function):
    """Computes the probabilities again for the gradient: to keep them would take half as much memory again."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int) -> Tensor:
        batch, length, triple = qkv.shape
        size = triple // 3 // heads
        q, k, v = qkv.view(batch, length, 3, heads, size).permute(2, 0, 3, 1, 4).contiguous()
        mixed = torch.empty(batch, length, heads, size, dtype=qkv.dtype, device=qkv.device)
        for start, end in _blocks(length):
            shares = _probabilities(q, k, start, end).to(qkv.dtype)
            mixed[:, start:end] = (shares @ v[:, :, :end]).transpose(1, 2)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(q, k, v, mixed)
        return mixed.view(batch, length, heads * size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        q, k, v, mixed = ctx.saved_tensors
        batch, heads, length, size = q.shape
        grad = grads[0].view(batch, length, heads, size).transpose(1, 2).contiguous()
        # A row's probabilities sum to 1, so this term keeps the sum of their gradients at zero.
        offset = (grad.float() * mixed.transpose(1, 2)).sum(dim=-1, keepdim=True)
        q_grad = torch.empty_like(q)
        k_grad, v_grad = (torch.zeros(k.shape, dtype=torch.float32, device=k.device) for _ in "kv")
        for start, end in _blocks(length):
            shares = _probabilities(q, k, start, end)
            grad_rows = grad[:, :, start:end]
            v_grad[:, :, :end] += shares.to(q.dtype).mT @ grad_rows
            slopes = (grad_rows @ v[:, :, :end].mT).float()
            slopes = slopes.sub_(offset[:, :, start:end]).mul_(shares).mul_(1 / math.sqrt(size)).to(q.dtype)
            q_grad[:, :, start:end] = slopes @ k[:, :, :end]
            k_grad[:, :, :end] += slopes.mT @ q[:, :, start:end]
        stacked = torch.stack([q_grad, k_grad.to(q.dtype), v_grad.to(q.dtype)])
        return stacked.permute(1, 3, 0, 2, 4).reshape(batch, length, 3 * heads * size), None


def _probabilities(q: Tensor, k: Tensor, start: int, end: int) -> Tensor:
    """The probabilities [B, heads, end - start, end] of a block of rows in float32; those of later keys are 0."""
    scores = (q[:, :, start:end] @ k[:, :, :end].mT).float().mul_(1 / math.sqrt(q.shape[-1]))
    future = torch.ones(end - start, end - start, dtype=torch.bool, device=q.device).triu(1)
    scores[..., start:].masked_fill_(future, -math.inf)
    return scores.softmax(dim=-1)


def _blocks(length: int) -> list[tuple[int, int]]:
    step = ATTENTION_BLOCK_ROWS
    return [(start, min(start + step, length)) for start in range(0, length, step)]
