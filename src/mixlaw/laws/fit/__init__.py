"""How laws are fitted: engine, ridge, profiles."""
