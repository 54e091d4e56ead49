"""Every registered name can be had: a part that cannot be imported is a failure, never a skip."""

import pytest

from mixlaw.data import seams
from mixlaw.kit.registry import Registry

REGISTRIES = {name: getattr(seams, name) for name in seams.__all__}
ENTRIES = [(registry, name) for registry, held in REGISTRIES.items() for name in held.names()]


def test_no_registry_is_empty():
    assert all(isinstance(held, Registry) and held.names() for held in REGISTRIES.values())


@pytest.mark.parametrize(("registry", "name"), ENTRIES, ids=[f"{r}-{n}" for r, n in ENTRIES])
def test_every_entry_can_be_imported_and_called(registry, name):
    assert callable(REGISTRIES[registry][name])
