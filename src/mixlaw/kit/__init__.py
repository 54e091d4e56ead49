"""Tools that every room uses: units, registry, lazy names, hashing, store, lock."""
