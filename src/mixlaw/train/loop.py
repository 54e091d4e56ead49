"""The optimiser step: forward and backward pass, clipping, AdamW over flat buffers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mixlaw.errors import ConfigError
from mixlaw.train.optimizer_options import optimizer_options

__all__ = ["Training", "choose_device", "choose_precision"]


def choose_device(device: str) -> torch.device:
    """The device of that name, such as ``"cpu"`` or ``"cuda:1"``; ``"auto"`` is the GPU where there is one, else the
    CPU.

    Example:
        >>> choose_device("cpu").type
        'cpu'
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def choose_precision(precision: str, device: torch.device) -> str:
    """``"auto"`` becomes ``"bf16"`` where the device multiplies bfloat16 natively, else ``"fp32"``.

    Example:
        >>> choose_precision("auto", torch.device("cpu")) in ("bf16", "fp32")
        True
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        native = any(
            getattr(torch.cpu, name, lambda: False)()
            for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return "bf16" if native else "fp32"


class Training:
    """A model with its AdamW state, one step at a time.

    Weights, gradients and moments live in two flat fp32 buffers (hidden matrices; all else), so that zeroing,
    clipping and the update are a few calls however many layers there are. Hidden matrices decay and train with the
    learning rate times ``base_width / width``; norms and (un)embeddings do neither. The decay per step is the
    learning rate times ``weight_decay`` at every width. Parameters that need no gradient stay as they are: they have no
    gradients and no moments, and are no part of :meth:`tensors`.

    Args:
        model: trained in place: a proxy's decoder, or a published one (:func:`mixlaw.models.architecture.build`).
        optimizer: see :func:`optimizer_options`.
        precision: ``"bf16"`` or ``"fp32"``, of matrix products.

    Example:
        >>> from mixlaw.models.architecture import architecture, build
        >>> config = architecture({"width": 32, "layers": 1, "heads": 2, "mlp_width": 64}, vocab_size=16)
        >>> training = Training(build(config, seed=0), {}, "fp32")
        >>> batch = np.tile(np.arange(9), (4, 1))  # (batch, context + 1): each token foretells the next
        >>> losses = [training.step(batch, 1e-2)[0] for _ in range(30)]
        >>> losses[-1] < losses[0]
        True
    """

    def __init__(self, model: Any, optimizer: Mapping[str, Any], precision: str) -> None:
        self.model = model
        self.options = optimizer_options(optimizer)
        self.precision = precision
        self.device = model.embedding.device
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        hidden = [(n, p) for n, p in trained if p.ndim == 2 and n.startswith("blocks.")]
        names = {n for n, _ in hidden}
        other = [(n, p) for n, p in trained if n not in names]
        scale = model.config.base_width / model.config.width
        self._places: dict[str, tuple[int, int, torch.Size]] = {}
        self._flat: list[Tensor] = []
        groups = []
        kinds = ((hidden, scale, self.options["weight_decay"]), (other, 1.0, 0.0))
        for index, (members, factor, decay) in enumerate(kind for kind in kinds if kind[0]):
            flat = torch.nn.Parameter(torch.cat([p.detach().flatten() for _, p in members]))
            flat.grad = torch.zeros_like(flat)
            start = 0
            for name, parameter in members:
                size = parameter.numel()
                parameter.data = flat.data[start : start + size].view(parameter.shape)
                parameter.grad = flat.grad[start : start + size].view(parameter.shape)
                self._places[name] = (index, start, parameter.shape)
                start += size
            self._flat.append(flat)
            groups.append({"params": [flat], "factor": factor, "weight_decay": decay / factor})
        self._adam = torch.optim.AdamW(groups, lr=0.0, betas=self.options["betas"], eps=self.options["eps"], fused=True)

    def loss(
        self, inputs: Tensor, targets: Tensor, factors: Tensor | None = None, losses: Tensor | None = None
    ) -> Tensor:
        """Mean loss in nats per token of one batch, in this training's precision.

        Args:
            inputs, targets: (n, context).
            factors: (n * context,) by which the tokens' losses are multiplied before the mean.
            losses: (n * context,) fp32, filled with the tokens' losses.
        """
        if self.device.type == "cpu":
            return self.model.fast_loss(inputs, targets, self.dtype, factors, losses)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model.loss(inputs, targets, factors, losses)

    def step(
        self,
        batch: npt.NDArray[np.int64],
        learning_rate: float,
        factors: npt.NDArray[np.float64] | None = None,
        losses: Tensor | None = None,
    ) -> tuple[float, float]:
        """One optimiser step on token sequences ``batch`` (n, context + 1), at this ``learning_rate``.

        Args:
            factors: (n,) by which the sequences' losses are multiplied before the mean.
            losses: (n * context,) fp32, filled with the tokens' losses before the update.

        Returns:
            Mean loss in nats before the update, and the gradient's norm before clipping. Where either is not finite
            the weights are left as they were.
        """
        return self.update(self.backward(batch, factors, losses), learning_rate)

    def backward(
        self,
        batch: npt.NDArray[np.int64],
        factors: npt.NDArray[np.float64] | None = None,
        losses: Tensor | None = None,
    ) -> float:
        """The gradient of the mean loss of ``batch``, as :meth:`step` takes it, and that loss in nats."""
        tokens = torch.from_numpy(batch).to(self.device)
        each = None
        if factors is not None:
            each = torch.from_numpy(np.repeat(factors, batch.shape[1] - 1)).float().to(self.device)
        for grad in self._grads():
            grad.zero_()
        loss = self.loss(tokens[:, :-1], tokens[:, 1:], each, losses)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def update(self, value: float, learning_rate: float) -> tuple[float, float]:
        """Clip the gradient that is there and follow it, at a loss of ``value``; returns as :meth:`step`."""
        grads = self._grads()
        norm = math.hypot(*(float(torch.linalg.vector_norm(g)) for g in grads))
        if not math.isfinite(value) or not math.isfinite(norm):
            return value, norm
        if norm > self.options["clip"]:
            for grad in grads:
                grad.mul_(self.options["clip"] / norm)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self._adam.step()
        return value, norm

    def gradient(self) -> Tensor:
        """A copy of the gradient that is there, as one vector over all trained parameters, in fp32."""
        return torch.cat(self._grads())

    def set_gradient(self, gradient: Tensor) -> None:
        """Inverse of :meth:`gradient`."""
        start = 0
        for grad in self._grads():
            grad.copy_(gradient[start : start + len(grad)])
            start += len(grad)

    def _grads(self) -> list[Tensor]:
        return [flat.grad for flat in self._flat if flat.grad is not None]

    # ---- state -------------------------------------------------------------------------------------
    def tensors(self) -> dict[str, Tensor]:
        """Weights ``model.<name>``, moments ``first.<name>`` and ``second.<name>``, and ``updates`` done."""
        result: dict[str, Tensor] = {}
        for name, (index, start, shape) in self._places.items():
            flat = self._flat[index]
            sources = {"model": flat, **self._moments(flat)}
            for kind, source in sources.items():
                result[f"{kind}.{name}"] = source.detach()[start : start + shape.numel()].view(shape)
        state = self._adam.state.get(self._flat[0])
        result["updates"] = state["step"] if state else torch.zeros(())
        return result

    def load(self, tensors: Mapping[str, Tensor], moments: bool = True) -> None:
        """Inverse of :meth:`tensors`; ``moments=False`` takes the weights only.

        Raises:
            ConfigError: the tensors are not those of this architecture.
        """
        wrong = [
            f"{name} {tuple(shape)}"
            for name, (_, _, shape) in self._places.items()
            if f"model.{name}" not in tensors or tensors[f"model.{name}"].shape != shape
        ]
        if wrong:
            raise ConfigError(
                f"The checkpoint does not fit this model; it lacks {wrong[:3]}"
                f"{' and others' if len(wrong) > 3 else ''}. Start from a run with the same architecture and tokenizer."
            )
        if moments:
            for flat in self._flat:
                self._adam.state[flat] = {
                    "step": tensors["updates"].clone().to(self.device),
                    "exp_avg": torch.zeros_like(flat),
                    "exp_avg_sq": torch.zeros_like(flat),
                }
        with torch.no_grad():
            for name, (index, start, shape) in self._places.items():
                flat = self._flat[index]
                targets = {"model": flat, **(self._moments(flat) if moments else {})}
                for kind, target in targets.items():
                    target[start : start + shape.numel()].copy_(tensors[f"{kind}.{name}"].flatten())

    def _moments(self, flat: Tensor) -> dict[str, Tensor]:
        state = self._adam.state.get(flat)
        if not state:
            return {"first": torch.zeros_like(flat), "second": torch.zeros_like(flat)}
        return {"first": state["exp_avg"], "second": state["exp_avg_sq"]}
