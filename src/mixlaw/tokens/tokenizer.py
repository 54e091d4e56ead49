"""Train a byte-level BPE, load any ``tokenizer.json``, and encode documents as fast as the library can.

Documents are joined by one end-of-document token. Text that spells a special token is encoded as text, so a document
cannot smuggle in an end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.hashing import content_hash

__all__ = ["END_OF_DOCUMENT", "Encoder", "train_tokenizer"]

END_OF_DOCUMENT = "<|endoftext|>"
_KNOWN_ENDS = (END_OF_DOCUMENT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")
LARGEST_VOCABULARY = 1 << 24
"""No tokenizer has so many tokens; an id beyond would make arrays of its size."""
_BATCH = 1 << 20
"""Characters encoded at once: enough for both cores, little enough to forget."""
_PIECE = 1 << 17


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> str:
    """Train a byte-level BPE on ``texts``; returns the content of its ``tokenizer.json``.

    The first token is :data:`END_OF_DOCUMENT`, then come the 256 bytes, so that every text can be encoded and decoded
    without loss.

    Raises:
        ConfigError: ``vocab_size`` is below 257.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size < 257:
        raise ConfigError(f"vocab_size must be at least 257 (256 bytes and the end of a document), got {vocab_size}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str(pretty=True))


class Encoder:
    """A tokenizer that turns documents into arrays of token ids.

    Args:
        text: content of a ``tokenizer.json``. One without an end-of-document token gets one appended.

    Attributes:
        end: id of the end-of-document token.
        hash: content hash of the tokenizer.
        dtype: ``uint16`` where the vocabulary fits, else ``uint32``.
    """

    def __init__(self, text: str) -> None:
        from tokenizers import Tokenizer

        self.tokenizer: Any = Tokenizer.from_str(text)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        special = {token.content for token in self.tokenizer.get_added_tokens_decoder().values() if token.special}
        known = [t for t in _KNOWN_ENDS if t in special] + list(_KNOWN_ENDS)  # Gemma's "</s>" is a tag of HTML
        end = next((i for t in known if (i := self.tokenizer.token_to_id(t)) is not None), None)
        if end is None:
            self.tokenizer.add_special_tokens([END_OF_DOCUMENT])
            end = self.tokenizer.token_to_id(END_OF_DOCUMENT)
        assert end is not None
        self.end: int = end
        self.text = str(self.tokenizer.to_str(pretty=True))
        self.hash = content_hash(json.loads(self.text))
        vocabulary = self.tokenizer.get_vocab(with_added_tokens=True)
        largest = max(vocabulary.values())
        if largest >= LARGEST_VOCABULARY:
            raise DataError(
                f"The tokenizer gives {max(vocabulary, key=lambda token: vocabulary[token])!r} the id {largest}, and "
                f"has {len(vocabulary)} tokens; ids up to {LARGEST_VOCABULARY - 1} can be used, since a model has a "
                f"row of weights for each. Number its tokens from 0."
            )
        self.vocab_size = largest + 1
        self.dtype: np.dtype[Any] = np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")
        self.tokenizer.encode_special_tokens = True

    @classmethod
    def load(cls, path: str | Path) -> Encoder:
        """From a ``tokenizer.json``, local or any fsspec URL.

        Raises:
            DataError: not there, or not a tokenizer.
        """
        import fsspec

        try:
            with fsspec.open(str(path), "r", encoding="utf-8") as handle:
                text = handle.read()
        except FileNotFoundError:
            raise DataError(f"There is no tokenizer at {str(path)!r}. Give the path of a tokenizer.json.") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{str(path)!r} is not a tokenizer.json: {error}.") from None
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{str(path)!r} is not a tokenizer.json: {error}.") from None
        try:
            return cls(text)
        except DataError as error:
            raise DataError(f"{str(path)!r}: {error}") from None
        except Exception as error:  # the library raises plain Exception for every malformed file
            raise DataError(f"{str(path)!r} is not a tokenizer the tokenizers library can read: {error}.") from error

    def token_bytes(self) -> npt.NDArray[np.uint16] | None:
        """UTF-8 bytes that each token spells (0 for special tokens), or None where the tokenizer is not byte-level."""
        data = json.loads(self.text)
        steps = data.get("pre_tokenizer") or {}
        kinds = [s.get("type") for s in steps.get("pretokenizers", [steps])]
        if "ByteLevel" not in kinds or data.get("normalizer") is not None:
            return None
        sizes = np.zeros(self.vocab_size, np.uint16)
        for token, index in self.tokenizer.get_vocab(with_added_tokens=False).items():
            sizes[index] = len(token)  # one character of the byte-level alphabet stands for one byte
        for added in data.get("added_tokens", []):
            sizes[added["id"]] = 0 if added.get("special") else len(added["content"].encode())
        return sizes

    def decode(self, tokens: Iterable[int]) -> str:
        """The text that tokens spell, without special tokens such as the end of a document.

        Args:
            tokens: ids, one after the other.

        Example:
            >>> encoder = Encoder(train_tokenizer(["one two three"] * 20, 300))
            >>> ids, _ = next(encoder.encode(["two"]))
            >>> encoder.decode(ids)
            'two'
        """
        return str(self.tokenizer.decode([int(token) for token in tokens], skip_special_tokens=True))

    def encode(self, texts: Iterable[str]) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Batches of ``(ids, lengths)``: documents one after the other, each closed by the end token, and how many
        tokens each has. Documents are read in this thread while the previous batch is encoded in another.

        Documents above 128k characters are encoded in pieces that begin at a space after a letter or digit, where
        byte-level tokenizers cut anyway.
        """
        with ThreadPoolExecutor(1) as pool:
            waiting = None
            for batch in _batches(texts):
                ready, waiting = waiting, pool.submit(self._encode, batch)
                if ready is not None:
                    yield ready.result()
            if waiting is not None:
                yield waiting.result()

    def _encode(self, batch: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        pieces: list[str] = []
        last: list[bool] = []
        for text in batch:
            cut = list(_pieces(text))
            pieces.extend(cut)
            last.extend([False] * (len(cut) - 1) + [True])
        encodings = self.tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
        parts: list[npt.NDArray[Any]] = []
        lengths: list[int] = []
        end = np.array([self.end], self.dtype)
        length = 0
        for i, is_last in enumerate(last):
            ids = np.array(encodings[i].ids, self.dtype)
            encodings[i] = None
            parts.append(ids)
            length += len(ids)
            if is_last:
                parts.append(end)
                lengths.append(length + 1)
                length = 0
        return np.concatenate(parts), np.array(lengths, np.int64)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > _PIECE:
        end = text.rfind(" ", start + _PIECE // 2, start + _PIECE)
        while end > 0 and not text[end - 1].isalnum():
            end = text.rfind(" ", start + _PIECE // 2, end)
        end = end if end > start else start + _PIECE
        yield text[start:end]
        start = end
    yield text[start:]
