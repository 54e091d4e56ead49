"""Text to token shards: writes ``tokens/`` and ``corpus.json``."""

from __future__ import annotations

from mixlaw.data import formats
from mixlaw.data.corpus import Corpus
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import corpus_inputs, made_from

__all__ = ["tokenize", "tokenized"]


def tokenize(study: StudyFolder, verify: bool = False) -> Corpus:
    """Measure the corpus: text becomes token shards; declared counts are written down.

    Args:
        verify: compare all tokens that are there already with their hashes, instead of some.

    Raises:
        ConfigError: the objective names a set that is not measured, or the budget a domain that is not there.
        DataError: text that cannot be read.
        InfeasibleBudgetError: no mixture of the domains satisfies the budget.
    """
    from mixlaw import tokens

    c = study.config.corpus
    if c.counts:
        corpus = Corpus.declared(c.counts, source=c.counts_source)
        study.budget.check(corpus)
        with made_from(study, "corpus.json", corpus_inputs(study)):
            formats.write(study.store, "corpus.json", "corpus", corpus.to_dict())
        return corpus
    corpus = tokens.build(
        {name: study.resolve(paths) for name, paths in c.domains.items()},
        study.folder,
        validation={name: study.resolve(paths) for name, paths in c.validation.items()},
        tokenizer=None if c.tokenizer is None else study.resolve([c.tokenizer])[0],
        vocab_size=c.vocab_size,
        validation_tokens=c.validation_tokens,
        text_field=c.text_field,
        progress=study.progress,
        verify=verify,
    )
    tokenized(study)
    study.check_objective(corpus)
    study.budget.check(corpus)
    return corpus


def tokenized(study: StudyFolder) -> None:
    """Note that ``tokens/`` and ``corpus.json`` were made with today's settings."""
    with made_from(study, "corpus.json", corpus_inputs(study)):
        pass
