"""A decoder in torch as a :class:`~mixlaw.models.contract.Model`: scores, text and gradients from fixed weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.models import scoring
from mixlaw.models.architecture import build
from mixlaw.models.contract import Floats, Item, Projection, Tokenizer, Tokens
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.key_value_cache import KeyValueCache
from mixlaw.models.proxy.presets import ModelConfig

__all__ = ["TorchModel"]

_SIGNS = 1 << 22  # entries of the projection that are in memory at once
_TOGETHER = 8  # items of one batch of gradients
_TOKENS = 1536  # of one forward pass
_WRITTEN = 32  # texts that are written together at most
_KEPT = 1 << 27  # numbers that are kept of them, half a gigabyte
_LOGITS = 1 << 27  # logits in memory at once, half a gigabyte: of a large vocabulary fewer items go together


class TorchModel:
    """A decoder with fixed weights, in fp32: a proxy, or a published architecture.

    Args:
        config: the architecture, with its vocabulary size.
        weights: parameters by name, as :func:`mixlaw.train.checkpoint.load_weights` reads them from a run's folder.
        tokenizer: what its tokens mean.
        device: where it computes.

    Raises:
        DataError: the weights are not those of this architecture.

    Example:
        >>> from mixlaw.models.architecture import architecture
        >>> config = architecture({"width": 16, "layers": 1, "heads": 2, "mlp_width": 32}, 50)
        >>> model = TorchModel(config, build(config).state_dict())
        >>> model.logprobs(np.array([[3, 1, 4, 1]])).shape
        (1, 3)
    """

    def __init__(
        self,
        config: ModelConfig | DecoderConfig,
        weights: Mapping[str, Tensor],
        tokenizer: Tokenizer | None = None,
        device: str = "cpu",
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.device = torch.device(device)
        self.decoder = build(config)
        """The ``torch.nn.Module``: from tokens (batch, context) to logits (batch, context, vocabulary)."""
        try:
            self.decoder.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise DataError(f"These weights are not those of {config}: {error}") from None
        self.decoder.to(self.device).eval()
        self.hash = _hash(config, self.decoder)

    def logprobs(self, tokens: Tokens) -> Floats:
        """(batch, length - 1) log-probabilities in nats; see :meth:`mixlaw.models.contract.Model.logprobs`."""
        tokens = np.asarray(tokens)
        self._check(tokens, "tokens", 2)
        if tokens.shape[1] < 2:
            return np.empty((len(tokens), 0))
        parts = []
        for rows in scoring.batches([tokens.shape[1] - 1] * len(tokens), _TOKENS):
            given = self._tensor(tokens[rows])
            where = torch.ones_like(given[:, 1:], dtype=torch.bool)
            losses = scoring.token_losses(self.decoder, given, where, self.config.vocab_size)
            parts.append(-losses.reshape(len(rows), -1))
        return np.concatenate(parts) if parts else np.empty((0, tokens.shape[1] - 1))

    def loss_per_item(self, items: Sequence[Item]) -> Floats:
        """(num_items,) mean loss over each item's scored tokens, in nats per token.

        Items of like length go through the model together. The others of a batch change an item's loss by fp32
        rounding only. On a CPU every thread of torch scores a batch of its own.
        """
        every = np.concatenate([item.tokens for item in items]) if items else np.zeros(1, np.int64)
        if not 0 <= every.min() <= every.max() < self.config.vocab_size:
            for item in items:
                self._check(item.tokens, f"item {item.id!r}", 1)
        return scoring.item_losses(self.decoder, items, self.config.vocab_size, self.device)

    def generate(
        self, prompts: Sequence[Tokens], max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> list[Tokens]:
        """What the model writes after each prompt; see :meth:`mixlaw.models.contract.Model.generate`.

        Prompts of like length go through the model together, and each token once: keys and values of earlier ones are
        kept. The other prompts of a batch change a prompt's logits by fp32 rounding, so its text can depend on them
        only where two tokens are tied to about 1e-6 nats.
        """
        given = [np.asarray(prompt) for prompt in prompts]
        for prompt in given:
            self._check(prompt, "a prompt", 1)
        written = [np.empty(0, np.int64)] * len(given)
        order = sorted(range(len(given)), key=lambda i: len(given[i]))
        while order and max_tokens > 0:
            # The longest first: how many fit is known from the last of them.
            together = self._writing(len(given[order[-1]]) + max_tokens)
            indices, order = order[-together:], order[:-together]
            texts = self._continued([given[i] for i in indices], max_tokens, temperature, seed)
            for i, text in zip(indices, texts):
                written[i] = text
        return written

    def gradients(self, items: Sequence[Item], projection: Projection) -> Floats:
        """(num_items, projection.size) projected gradients; see :class:`~mixlaw.models.contract.Projection`."""
        out = np.zeros((len(items), projection.size))
        parameters = list(self.decoder.parameters())
        for start in range(0, len(items), _TOGETHER):
            rows = []
            for item in items[start : start + _TOGETHER]:
                self._check(item.tokens, f"item {item.id!r}", 1)
                losses = self._losses(self._tensor(item.tokens[None]))
                parts = torch.autograd.grad(losses[0, item.scored_from - 1 :].mean(), parameters)
                rows.append(torch.cat([part.flatten() for part in parts]).cpu())
            out[start : start + len(rows)] = _project(torch.stack(rows), projection)
        return out

    # ---- inside --------------------------------------------------------------------------------------
    def _losses(self, tokens: Tensor) -> Tensor:
        """(batch, length - 1) loss of each token after the first."""
        logits = self.decoder(tokens[:, :-1]).float()
        return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")

    @torch.inference_mode()
    def _continued(self, prompts: Sequence[Tokens], max_tokens: int, temperature: float, seed: int) -> list[Tokens]:
        """What follows each prompt of one batch."""
        end = None if self.tokenizer is None else self.tokenizer.end
        lengths = np.array([len(prompt) for prompt in prompts])
        padded = np.zeros((len(prompts), lengths.max()), np.int64)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt)] = prompt
        # One more slot than tokens, since a published model may have a start token; rounded up to few different sizes,
        # since the decoder keeps a table of positions for each.
        slots = -(-(int(lengths.max()) + max_tokens + 1) // 128) * 128
        cache = KeyValueCache(self.config.layers, slots)
        logits = self.decoder.prefill(self._tensor(padded), self._tensor(lengths), cache)
        # A stream of its own for each prompt: with one for all, the scores of a set's items would err together.
        seeds = [int(content_hash([seed, prompt.tolist()])[:15], 16) for prompt in prompts]
        generators = [torch.Generator().manual_seed(one) for one in seeds]
        texts: list[list[int]] = [[] for _ in prompts]
        rows = list(range(len(prompts)))  # which prompt each sequence of the batch continues
        ended: set[int] = set()
        while True:
            scores = logits.float().cpu()
            if temperature > 0:
                chances = torch.softmax(scores / temperature, -1)
                chosen = [
                    int(torch.multinomial(chance, 1, generator=generators[row])) for row, chance in zip(rows, chances)
                ]
            else:
                chosen = scores.argmax(-1).tolist()
            for row, token in zip(rows, chosen):
                if row not in ended:
                    texts[row].append(token)
                    if token == end or len(texts[row]) == max_tokens:
                        ended.add(row)
            if len(ended) == len(prompts):
                return [np.array(text, np.int64) for text in texts]
            going = [place for place, row in enumerate(rows) if row not in ended]
            if 2 * len(going) <= len(rows):  # copying what is kept costs less than computing what nobody reads
                cache.keep(going)
                rows, chosen = [rows[place] for place in going], [chosen[place] for place in going]
            before = np.array([lengths[row] + min(len(texts[row]), max_tokens) - 1 for row in rows])
            logits = self.decoder.step(self._tensor(np.array(chosen)), self._tensor(before), cache)

    def _writing(self, length: int) -> int:
        """How many sequences that end with so many tokens are written at once."""
        config = self.config
        kept = 2 * config.layers * config.heads * config.head_dim * length  # keys and values, at most
        return max(1, min(_WRITTEN, _KEPT // max(kept, length * config.mlp_width), _LOGITS // config.vocab_size))

    def _tensor(self, tokens: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens, np.int64)).to(self.device)

    def _check(self, tokens: Any, what: str, ndim: int) -> None:
        vocabulary = self.config.vocab_size
        if tokens.ndim != ndim or tokens.dtype.kind not in "iu" or not tokens.shape[-1]:
            raise DataError(
                f"The model needs {what} as {'a matrix' if ndim == 2 else 'a vector'} of token ids, got {tokens.dtype} "
                f"of shape {tokens.shape}."
            )
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary:
            raise DataError(
                f"{what} has ids from {tokens.min()} to {tokens.max()}, and the model's vocabulary ends at "
                f"{vocabulary - 1}. Encode the text with the model's own tokenizer."
            )


def _hash(config: ModelConfig | DecoderConfig, decoder: Any) -> str:
    weights = {
        name: hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in decoder.state_dict().items()
    }
    return content_hash({"config": asdict(config), "weights": weights})


def _project(gradients: Tensor, projection: Projection) -> Floats:
    """(n, size) from (n, parameters): random signs, drawn block by block and never all in memory."""
    generator = torch.Generator().manual_seed(projection.seed)
    total = torch.zeros(len(gradients), projection.size, dtype=torch.float64)
    rows = max(1, _SIGNS // projection.size)
    for start in range(0, gradients.shape[1], rows):
        block = gradients[:, start : start + rows]
        signs = torch.randint(0, 2, (block.shape[1], projection.size), generator=generator, dtype=torch.int8)
        total += (block @ (2.0 * signs - 1.0)).double()
    return (total / projection.size**0.5).numpy()
