"""Text from a batch of prompts with kept keys and values: the same as from one prompt and the whole sequence."""

import numpy as np
import pytest

from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.models.architecture import architecture, build

torch = pytest.importorskip("torch")

from mixlaw.models.key_value_cache import KeyValueCache  # noqa: E402
from mixlaw.models.torch_model import TorchModel  # noqa: E402

VOCABULARY = 61
PUBLISHED = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
MODELS = {
    "proxy": {"width": 32, "layers": 3, "heads": 2, "mlp_width": 48, "vocab_size": VOCABULARY},
    "llama, shared keys": {"config": {"model_type": "llama", **PUBLISHED, "num_key_value_heads": 2}},
    "pythia": {"config": {"model_type": "gpt_neox", **PUBLISHED, "rotary_pct": 0.5}},
    "gemma 3, window and start token": {
        "start_token": 2,
        "config": {
            "model_type": "gemma3_text",
            **PUBLISHED,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "query_pre_attn_scalar": 24,
            "sliding_window": 5,
            "sliding_window_pattern": 2,
        },
    },
}


def made(name, end=None):
    config = architecture(MODELS[name])
    generator = torch.Generator().manual_seed(1)
    weights = {  # small biases, or every text is the same
        name: torch.randn(value.shape, generator=generator) * (0.02 if name.endswith("bias") else 0.4)
        for name, value in build(config).state_dict().items()
    }
    return TorchModel(config, weights, None if end is None else Ends(end))


class Ends:
    hash, vocab_size = "x", VOCABULARY

    def __init__(self, end):
        self.end = end


def prompts(*lengths):
    rng = np.random.default_rng(len(lengths))
    return [rng.integers(0, VOCABULARY, n) for n in lengths]


def plainly(model, prompt, max_tokens, temperature=0.0, seed=0):
    """What the contract says, one token after the other from the whole sequence."""
    tokens = prompt.tolist()
    generator = torch.Generator().manual_seed(int(content_hash([seed, prompt.tolist()])[:15], 16))
    end = None if model.tokenizer is None else model.tokenizer.end
    while len(tokens) < len(prompt) + max_tokens and (len(tokens) == len(prompt) or tokens[-1] != end):
        with torch.inference_mode():
            logits = model.decoder(torch.tensor([tokens]))[0, -1]
        if temperature:
            chances = torch.softmax(logits / temperature, -1)
            tokens.append(int(torch.multinomial(chances, 1, generator=generator)))
        else:
            tokens.append(int(logits.argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_writes_what_each_prompt_alone_does(name):
    model = made(name)
    given = prompts(7, 1, 12, 30, 3, 7, 19, 2)
    for temperature in (0.0, 1.3):
        written = model.generate(given, 24, temperature, seed=5)
        expected = [plainly(model, prompt, 24, temperature, seed=5) for prompt in given]
        assert [text.tolist() for text in written] == expected
    assert len({tuple(text) for text in expected}) > 4  # not one loop for all


@pytest.mark.parametrize("name", MODELS)
def test_texts_that_end_leave_the_others_as_they_are(name):
    given = prompts(7, 1, 12, 30, 3, 7, 19, 2)
    free = [text.tolist() for text in made(name).generate(given, 24, 1.0)]

    def cut(end):
        return [text[: text.index(end) + 1] if end in text else text for text in free]

    end = max(range(VOCABULARY), key=lambda token: len({len(text) for text in cut(token)}))
    assert len({len(text) for text in cut(end)}) > 2  # they end one after the other
    assert [text.tolist() for text in made(name, end).generate(given, 24, 1.0)] == cut(end)


def test_more_prompts_than_go_together():
    model = made("proxy")
    given = prompts(*np.random.default_rng(3).integers(1, 20, 70))
    assert [t.tolist() for t in model.generate(given, 3)] == [plainly(model, p, 3) for p in given]


def test_nothing_to_write_and_nothing_to_continue():
    model = made("proxy")
    assert model.generate([], 5) == []
    assert [len(text) for text in model.generate(prompts(3, 4), 0)] == [0, 0]
    with pytest.raises(DataError, match="a prompt as a vector"):
        model.generate([np.empty(0, np.int64)], 5)


def test_padding_is_never_seen():
    """What stands in a slot beyond a query's position changes nothing."""
    cache = KeyValueCache(layers=1, slots=6)
    cache.place(torch.arange(5).expand(2, -1))
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 1, 5, 4, generator=generator) for _ in range(3))
    k[1, :, 2:], v[1, :, 2:] = 1e4, 1e4  # padding of the second sequence, of length 2
    cache.attend(0, q, k, v, 1.0)
    cache.place(torch.tensor([[5], [2]]))
    q, k, v = (torch.randn(2, 1, 1, 4, generator=generator) for _ in range(3))
    assert cache.attend(0, q, k, v, 1.0)[1].abs().max() < 10


def test_two_prompts_are_continued_by_different_draws():
    """The same model and seed: prompts that differ only before the window draw other tokens, not the same stream."""
    config = architecture({"width": 16, "layers": 1, "heads": 2, "mlp_width": 32, "vocab_size": 64})
    flat = {name: torch.zeros_like(value) for name, value in build(config).state_dict().items()}
    one, two = TorchModel(config, flat).generate([np.array([3]), np.array([4])], 16, temperature=1.0, seed=0)
    assert one.tolist() != two.tolist()
