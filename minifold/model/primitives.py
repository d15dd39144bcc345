"""What everything else is made of: linear layers, attention, transition, shared dropout.

Attention is written once. It has a clear path, which spells out the algorithm and can hand its
weights to a tap, and a fast path through PyTorch's fused kernel; a test says that both agree.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MASKED = -1e9  # the logit of a masked key, as in DeepMind's code


class Linear(nn.Linear):
    """Linear layer with AlphaFold2's initialisations (supplement 1.11.4).

    Args:
        c_in, c_out: channels.
        bias: whether to add a bias; it starts at 0.
        init: "default" (LeCun, truncated normal), "relu" (He), "glorot" (uniform), "zero" for
            last layers of a residual branch, "gate" (weights 0, bias 1: the gate starts open).
    """

    def __init__(self, c_in: int, c_out: int, bias: bool = True, init: str = "default"):
        self.init = init
        super().__init__(c_in, c_out, bias=bias)

    def reset_parameters(self) -> None:
        if self.init in ("default", "relu"):
            gain = 2.0 if self.init == "relu" else 1.0
            std = (gain / self.in_features) ** 0.5 / 0.8796  # 0.8796: std of N(0, 1) cut at ±2
            nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)
        elif self.init == "glorot":
            nn.init.xavier_uniform_(self.weight)
        elif self.init in ("zero", "gate"):
            nn.init.zeros_(self.weight)
        else:
            raise ValueError(f"unknown init {self.init!r}")
        if self.bias is not None:
            nn.init.constant_(self.bias, 1.0 if self.init == "gate" else 0.0)


LayerNorm = nn.LayerNorm  # over the last axis, eps 1e-5, biased variance


class Attention(nn.Module):
    """Multi-head attention, gated or not, with or without a bias: Algorithms 7, 8, 13, 14, 17.

    Args:
        c_q, c_kv, c_out: channels of the queries' input, of the keys' input, of the output.
        heads: number of heads h.
        c_qk, c_v: channels of all heads together for queries/keys and for values (default c_q).
        gated: multiply the output of every head by sigmoid(linear(q_data)).

    ``path`` chooses "fast" or "clear"; ``chunk`` (rows at a time) saves memory at inference;
    ``record`` receives the weights [*, h, q, k] of the clear path. `set_attention` sets them.
    """

    def __init__(
        self,
        c_q: int,
        c_kv: int,
        c_out: int,
        heads: int,
        c_qk: int | None = None,
        c_v: int | None = None,
        gated: bool = True,
    ):
        super().__init__()
        c_qk, c_v = c_qk or c_q, c_v or c_q
        if c_qk % heads or c_v % heads:
            raise ValueError(f"{heads} heads do not divide {c_qk} and {c_v} channels")
        self.heads = heads
        self.q = Linear(c_q, c_qk, bias=False, init="glorot")
        self.k = Linear(c_kv, c_qk, bias=False, init="glorot")
        self.v = Linear(c_kv, c_v, bias=False, init="glorot")
        self.gate = Linear(c_q, c_v, init="gate") if gated else None
        self.output = Linear(c_v, c_out, init="zero")
        self.path = "fast"
        self.chunk: int | None = None
        self.record: Callable[[Tensor], None] | None = None

    def forward(
        self,
        q_data: Float[Tensor, "*batch q c_q"],
        kv_data: Float[Tensor, "*batch k c_kv"],
        mask: Float[Tensor, "*batch k"] | None = None,
        bias: Float[Tensor, "*bias h q k"] | None = None,
    ) -> Float[Tensor, "*batch q c_out"]:
        """Attend from every q to every unmasked k.

        Args:
            mask: 1 for keys that may be seen. If all keys of a query are masked it attends to
                all of them uniformly, as in DeepMind's code.
            bias: added to the logits; its leading axes broadcast against those of the data.
        """
        rows = q_data.shape[-3] if q_data.dim() > 3 else 1
        if self.chunk and rows > self.chunk and not torch.is_grad_enabled():
            return self._chunked(q_data, kv_data, mask, bias)
        q, k, v = (
            _split_heads(x, self.heads) for x in (self.q(q_data), self.k(kv_data), self.v(kv_data))
        )
        if self.path == "clear" or self.record is not None:
            o = self._clear(q, k, v, mask, bias)
        else:
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=_logit_bias(mask, bias, q.dtype))
        o = o.transpose(-3, -2).flatten(-2)  # [*, q, h * c]
        if self.gate is not None:
            o = torch.sigmoid(self.gate(q_data)) * o
        return self.output(o)

    def _clear(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """Algorithm 7 lines 5-6, spelled out."""
        logits = torch.einsum("...hqc,...hkc->...hqk", q * q.shape[-1] ** -0.5, k)
        if bias is not None:
            logits = logits + bias
        if mask is not None:
            logits = logits + (1 - mask[..., None, None, :]) * MASKED  # cheaper than a choice
        weights = torch.softmax(logits.float(), dim=-1).to(v.dtype)
        if self.record is not None:
            self.record(weights)
        return torch.einsum("...hqk,...hkc->...hqc", weights, v)

    def _chunked(self, q_data, kv_data, mask, bias):
        """The same, a few rows (axis -3) at a time; the bias is the same for all rows."""
        rows, chunk, size = q_data.shape[-3], self.chunk, self.chunk
        self.chunk = None
        try:
            parts = []
            for start in range(0, rows, size):
                cut = slice(start, start + size)
                part_mask = None if mask is None else mask[..., cut, :]
                parts.append(self(q_data[..., cut, :, :], kv_data[..., cut, :, :], part_mask, bias))
        finally:
            self.chunk = chunk
        return torch.cat(parts, dim=-3)


class GlobalAttention(nn.Module):
    """One query per row, the mean of its inputs; one key and value head: Algorithm 19.

    Args:
        c: channels of input and output.
        heads: number of query heads h.
    """

    def __init__(self, c: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = Linear(c, c, bias=False, init="glorot")
        self.k = Linear(c, c // heads, bias=False, init="glorot")
        self.v = Linear(c, c // heads, bias=False, init="glorot")
        self.gate = Linear(c, c, init="gate")
        self.output = Linear(c, c, init="zero")
        self.record: Callable[[Tensor], None] | None = None

    def forward(
        self, x: Float[Tensor, "*batch k c"], mask: Float[Tensor, "*batch k"]
    ) -> Float[Tensor, "*batch k c"]:
        k, v = self.k(x), self.v(x)  # Alg. 19 line 2
        mean = (x * mask[..., None]).sum(-2) / (mask.sum(-1, keepdim=True) + 1e-10)
        q = self.q(mean).unflatten(-1, (self.heads, -1)) * k.shape[-1] ** -0.5  # lines 2, 3
        logits = torch.einsum("...hc,...kc->...hk", q, k).float()
        logits = logits.masked_fill(mask[..., None, :] == 0, MASKED)
        weights = torch.softmax(logits, dim=-1).to(v.dtype)  # line 5
        if self.record is not None:
            self.record(weights)
        o = torch.einsum("...hk,...kc->...hc", weights, v).flatten(-2)
        return self.output(torch.sigmoid(self.gate(x)) * o[..., None, :])  # lines 4, 6, 7


class Transition(nn.Module):
    """Two-layer perceptron applied to every position: Algorithms 9 and 15."""

    def __init__(self, c: int, factor: int):
        super().__init__()
        self.norm = LayerNorm(c)
        self.linear_1 = Linear(c, factor * c, init="relu")
        self.linear_2 = Linear(factor * c, c, init="zero")

    def forward(self, x: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch c"]:
        x = self.norm(x)  # line 1
        return self.linear_2(torch.relu(self.linear_1(x)))  # lines 2, 3


class SharedDropout(nn.Module):
    """Dropout whose mask is the same along one axis (supplement 1.11.6).

    Args:
        rate: probability of dropping.
        shared: axis along which all entries are dropped together: 1 for ``DropoutRowwise``
            (rows s or i of [b, s, i, c] and [b, i, j, c] share it), 2 for ``DropoutColumnwise``.
    """

    def __init__(self, rate: float, shared: int):
        super().__init__()
        self.rate, self.shared = rate, shared

    def forward(self, x: Float[Tensor, "b i j c"]) -> Float[Tensor, "b i j c"]:
        if not self.training or self.rate == 0.0:
            return x
        shape = list(x.shape)
        shape[self.shared] = 1
        return x * F.dropout(x.new_ones(shape), self.rate)


def set_attention(model: nn.Module, path: str = "fast", chunk: int | None = None) -> None:
    """Choose the path of every attention below ``model``: "fast" or "clear", whole or chunked."""
    if path not in ("fast", "clear"):
        raise ValueError(f"attention path must be 'fast' or 'clear', not {path!r}")
    for module in model.modules():
        if isinstance(module, Attention):
            module.path, module.chunk = path, chunk


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """[*, k, h * c] -> [*, h, k, c]"""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def _logit_bias(mask: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Mask and bias in one: the bias where a key may be seen, -1e9 where not.

    The kernel adds it to q·k, which float32 cannot tell from -1e9 itself: a masked key has weight
    0, and if every key is masked the weights are uniform.
    """
    if bias is not None:
        bias = bias.to(dtype)
    if mask is None:
        return bias
    if bias is None:
        bias = mask.new_zeros((), dtype=dtype)
    return bias.masked_fill(mask[..., None, None, :] == 0, MASKED)
