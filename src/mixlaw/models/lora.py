"""Low-rank updates of a decoder whose own weights stay as they are (LoRA; Hu et al. 2021, arXiv:2106.09685).

A matrix ``W`` (out, in) acts as ``W + alpha / rank * up @ down`` with ``up`` (out, rank) and ``down`` (rank, in), and
only these two are trained. The product is never formed while training: ``x`` goes through ``down`` and ``up`` beside
``W``, so there are no gradients, moments or copies of the size of ``W``. ``up`` begins at zero, so that the model
begins as what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixlaw.errors import DataError
from mixlaw.models.lora_options import LoRAOptions

__all__ = ["LowRank", "add_low_rank", "merged", "whole_weights"]


class LowRank(nn.Module):
    """The update of one matrix.

    Args:
        out, into: sides of the matrix.
        rank: of the update.
        alpha: the update's weight is ``alpha / rank``.
        generator: draws ``down``, normal with variance ``1 / into``.

    Example:
        >>> update = LowRank(4, 8, rank=2, alpha=2.0, generator=torch.Generator().manual_seed(0))
        >>> update(torch.ones(3, 8)).abs().max().item()  # up is zero before the first step
        0.0
    """

    def __init__(self, out: int, into: int, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, into).normal_(0.0, into**-0.5, generator=generator))
        self.up = nn.Parameter(torch.zeros(out, rank))
        self.weight = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """What the update adds to the matrix's product with ``x`` (..., in): (..., out)."""
        return F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype)) * self.weight


def add_low_rank(decoder: Any, weights: Mapping[str, Tensor], options: LoRAOptions, seed: int) -> None:
    """Load ``weights`` into a decoder, freeze them, and put an update beside each target.

    Args:
        decoder: a proxy's or a published one; changed in place, on its own device.
        weights: parameters by name.
        options: rank, alpha and targets.
        seed: of the factors ``down``.

    Raises:
        DataError: the weights are not those of this architecture.

    Example:
        >>> from mixlaw.models.architecture import architecture, build
        >>> from mixlaw.models.lora_options import lora_options
        >>> config = architecture({"width": 32, "layers": 1, "heads": 2, "mlp_width": 64}, vocab_size=16)
        >>> decoder = build(config)
        >>> add_low_rank(decoder, build(config).state_dict(), lora_options({"rank": 2, "targets": ["gate"]}, config), 0)
        >>> [name for name, p in decoder.named_parameters() if p.requires_grad]
        ['blocks.0.low_rank.gate.down', 'blocks.0.low_rank.gate.up']
    """
    try:
        decoder.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise DataError(f"The weights to start from are not those of {decoder.config}: {error}") from None
    decoder.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for block in decoder.blocks:
        for name in options.targets:
            update = LowRank(*options.shapes[name], options.rank, options.alpha, generator)
            block.low_rank[name] = update.to(decoder.embedding.device)


def whole_weights(decoder: Any) -> dict[str, Tensor]:
    """Weights by name of a decoder with updates, as one without them has the same function.

    Example:
        >>> from mixlaw.models.architecture import architecture, build
        >>> decoder = build(architecture({"width": 32, "layers": 1, "heads": 2, "mlp_width": 64}, vocab_size=16))
        >>> list(whole_weights(decoder)) == list(decoder.state_dict())
        True
    """
    found = {name: values for name, values in decoder.state_dict().items() if ".low_rank." not in name}
    for layer, block in enumerate(decoder.blocks):
        for name, update in block.low_rank.items():
            added = update.weight * (update.up.detach() @ update.down.detach())
            found[f"blocks.{layer}.{name}"] = found[f"blocks.{layer}.{name}"] + added
    return found


def merged(weights: Mapping[str, Tensor], factors: Mapping[str, Tensor], options: LoRAOptions) -> dict[str, Tensor]:
    """The weights of the model as a whole: each target with its update added, in fp32.

    Args:
        weights: parameters by name, without updates.
        factors: ``blocks.<i>.low_rank.<target>.down`` and ``.up`` of every layer and target.
        options: which the factors were trained with.

    Raises:
        DataError: a factor is missing, or of another shape.

    Example:
        >>> options = LoRAOptions(1, 2.0, ("gate",), {"gate": (2, 3)}, layers=1)
        >>> down, up = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [0.0]])
        >>> factors = {"blocks.0.low_rank.gate.down": down, "blocks.0.low_rank.gate.up": up}
        >>> merged({"blocks.0.gate": torch.ones(2, 3)}, factors, options)["blocks.0.gate"].tolist()
        [[3.0, 5.0, 7.0], [1.0, 1.0, 1.0]]
    """
    found = dict(weights)
    for layer in range(options.layers):
        for name in options.targets:
            out, into = options.shapes[name]
            parts = []
            for part, shape in (("up", (out, options.rank)), ("down", (options.rank, into))):
                key = f"blocks.{layer}.low_rank.{name}.{part}"
                if key not in factors or tuple(factors[key].shape) != shape:
                    raise DataError(f"The run's checkpoint lacks {key} of shape {shape}. Delete it and train again.")
                parts.append(factors[key])
            target = f"blocks.{layer}.{name}"
            found[target] = weights[target] + (options.alpha / options.rank) * (parts[0] @ parts[1])
    return found
