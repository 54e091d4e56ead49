"""A decoder as a Model: it scores as the trainer does, and its gradients are those of its losses."""

import math

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError
from mixlaw.models.contract import Item, Model, Projection, Tokenizer
from mixlaw.models.proxy.presets import model_config
from mixlaw.tokens.loader import validation
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

from tiny_tokens import MODEL, RULES, VOCABULARY, tiny_spec

torch = pytest.importorskip("torch")

from mixlaw.models.proxy.model import Decoder  # noqa: E402
from mixlaw.models.torch_model import TorchModel  # noqa: E402
from mixlaw.train import TorchTrainer, checkpoint  # noqa: E402

CONFIG = model_config({"width": 16, "layers": 2, "heads": 2, "mlp_width": 32}, VOCABULARY)


@pytest.fixture
def decoder():
    decoder = Decoder(CONFIG, seed=3)
    with torch.no_grad():  # initial weights guess almost uniformly, and a uniform guess hides mistakes
        for parameter in decoder.parameters():
            parameter.mul_(2.0)
    return decoder


@pytest.fixture
def model(decoder):
    return TorchModel(CONFIG, decoder.state_dict())


def items(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [Item(f"i{k}", rng.integers(0, VOCABULARY, n), scored_from=1 + k % 3) for k, n in enumerate(lengths)]


def test_it_is_a_model(model):
    assert isinstance(model, Model)
    assert isinstance(Encoder(train_tokenizer(["a text of a few words"] * 20, 300)), Tokenizer)


def test_a_trained_run_scores_as_its_trainer_measured(tiny, tmp_path):
    corpus, root = tiny
    spec = tiny_spec(corpus, 0.7, steps=20, optimizer={"precision": "fp32"})
    TorchTrainer(*tiny).run(spec, tmp_path / spec.id)
    config = model_config(MODEL, corpus.vocab_size)
    model = TorchModel(config, checkpoint.load_weights(tmp_path / spec.id))
    sets = validation(corpus, root, spec.context)
    rows = Observations.load(tmp_path / spec.id).values.to_pylist()
    measured = {r["target"]: r["value"] for r in rows if r["metric"] == "loss" and r["step"] == 20}
    for name in RULES:
        sequences = sets[name][0]
        assert -model.logprobs(sequences).mean() == pytest.approx(measured[name], abs=1e-5)
        losses = model.loss_per_item([Item(str(i), row) for i, row in enumerate(sequences)])
        assert losses.mean() == pytest.approx(measured[name], abs=1e-5)


def test_losses_are_those_of_the_logprobs_whatever_the_batch(model):
    given = items(9, 4, 17, 12, 5, 9, 30, 8, 11, 6, 25)
    given[7] = Item("two", np.array([1, 2]))
    losses = model.loss_per_item(given)
    for item, loss in zip(given, losses):
        alone = -model.logprobs(item.tokens[None])[0, item.scored_from - 1 :]
        assert loss == pytest.approx(alone.mean(), abs=1e-5)
    assert np.ptp(losses) > 0.1


def test_logprobs_are_a_distribution(model):
    prefix = np.array([7, 3, 50])
    every = np.array([[*prefix, token] for token in range(VOCABULARY)])
    assert np.exp(model.logprobs(every)[:, -1]).sum() == pytest.approx(1, abs=1e-5)


def test_generate_takes_the_most_likely_or_draws(model):
    prompt = np.array([7, 3, 50])
    (written,) = model.generate([prompt], 5)
    tokens = list(prompt)
    for token in written:
        every = np.array([[*tokens, t] for t in range(VOCABULARY)])
        assert token == model.logprobs(every)[:, -1].argmax()
        tokens.append(token)
    one, two = model.generate([prompt, prompt[:1]], 20, temperature=1.0, seed=4)
    assert np.array_equal(model.generate([prompt[:1]], 20, temperature=1.0, seed=4)[0], two)
    assert not np.array_equal(model.generate([prompt], 20, temperature=1.0, seed=5)[0], one)


def test_draws_follow_the_distribution(model):
    prompt = np.array([7, 3])
    chance = np.exp(model.logprobs(np.array([[*prompt, t] for t in range(VOCABULARY)]))[:, -1])
    likely = int(chance.argmax())
    drawn = [int(model.generate([prompt], 1, temperature=1.0, seed=s)[0][0]) for s in range(400)]
    error = math.sqrt(chance[likely] * (1 - chance[likely]) / len(drawn))
    assert abs(np.mean(np.array(drawn) == likely) - chance[likely]) < 4 * error


def test_generation_ends_at_the_end_token(model, decoder):
    class Ends:
        hash, vocab_size = "x", VOCABULARY
        end = int(model.generate([np.array([7, 3, 50])], 3)[0][1])

        def encode(self, texts):
            raise NotImplementedError

    ending = TorchModel(CONFIG, decoder.state_dict(), tokenizer=Ends())
    written = ending.generate([np.array([7, 3, 50])], 20)[0]
    assert written[-1] == Ends.end
    assert len(written) <= 2


def test_gradients_are_the_slope_of_the_losses(model, decoder):
    """Without projecting onto fewer numbers nothing is known exactly; so compare inner products with exact ones."""
    given = items(12, 12, 20)
    parameters = list(decoder.parameters())
    exact = []
    for item in given:
        logits = decoder(torch.from_numpy(item.tokens[None, :-1]))[0]
        losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(item.tokens[1:]), reduction="none")
        parts = torch.autograd.grad(losses[item.scored_from - 1 :].mean(), parameters)
        exact.append(torch.cat([p.flatten() for p in parts]).double().numpy())
    inner = np.array(exact) @ np.array(exact).T
    size = 4096
    projected = model.gradients(given, Projection(size, seed=1))
    assert projected.shape == (3, size)
    lengths = np.sqrt(np.diag(inner))
    assert np.abs(projected @ projected.T - inner).max() < 5 * np.outer(lengths, lengths).max() / math.sqrt(size)
    assert np.array_equal(model.gradients(given[:1], Projection(size, seed=1)), projected[:1])
    assert not np.allclose(model.gradients(given[:1], Projection(size, seed=2)), projected[:1])


def test_the_hash_names_the_weights(model, decoder):
    assert TorchModel(CONFIG, decoder.state_dict()).hash == model.hash
    assert TorchModel(CONFIG, Decoder(CONFIG, seed=3).state_dict()).hash != model.hash


def test_what_it_cannot_take_is_explained(model, decoder):
    with pytest.raises(DataError, match="vocabulary ends at 63"):
        model.logprobs(np.array([[1, 64]]))
    with pytest.raises(DataError, match="a matrix of token ids"):
        model.logprobs(np.array([1.0, 2.0]))
    with pytest.raises(DataError, match="nothing is scored"):
        Item("x", np.array([1, 2, 3]), scored_from=3)
    with pytest.raises(DataError, match="not those of"):
        TorchModel(model_config({**MODEL, "layers": 3}, VOCABULARY), decoder.state_dict())
    with pytest.raises(ConfigError, match="Projection size"):
        Projection(0)


def test_items_score_the_same_whatever_goes_with_them_and_on_any_number_of_threads(model):
    given = items(*np.random.default_rng(1).integers(5, 60, 400))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = model.loss_per_item(given)
        torch.set_num_threads(3)
        together = model.loss_per_item(given)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(alone, together)
    expected = [-model.logprobs(item.tokens[None])[0, item.scored_from - 1 :].mean() for item in given]
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_an_item_of_another_vocabulary_is_named(model):
    with pytest.raises(DataError, match=r"item 'odd' has ids from 3 to 64"):
        model.loss_per_item([*items(5, 9), Item("odd", np.array([3, VOCABULARY]))])
