"""What a law has learned as plain data that JSON can hold, and back: arrays, tuples, NaN and laws inside laws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mixlaw.errors import DataError

__all__ = ["decode", "encode"]


def encode(value: Any, law: type[Any]) -> Any:
    """``value`` as numbers, texts, lists and dicts.

    Args:
        law: class of the laws that may stand inside it.

    Raises:
        DataError: something that is no plain data.

    Example:
        >>> encode((1.0, float("nan")), law=type(None))
        {'__tuple__': [1.0, {'__float__': 'nan'}]}
    """
    if isinstance(value, law):
        return {"__law__": value.to_dict()}
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return {
                "__array__": [encode(v, law) for v in value.ravel().tolist()],
                "dtype": "object",
                "shape": value.shape,
            }
        items = [encode(v, law) for v in value.ravel().tolist()] if value.dtype.kind == "f" else value.ravel().tolist()
        return {"__array__": items, "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return {"__tuple__": [encode(v, law) for v in value]}
    if isinstance(value, list):
        return [encode(v, law) for v in value]
    if isinstance(value, Mapping):
        return {"__dict__": [[encode(k, law), encode(v, law)] for k, v in value.items()]}
    if isinstance(value, float) and not np.isfinite(value):
        return {"__float__": str(value)}  # JSON has no NaN and no infinity
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise DataError(f"A law's state must be plain data; {type(value).__name__} is not.")


def decode(value: Any, law: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Inverse of :func:`encode`.

    Args:
        law: makes a law of its own plain data.

    Example:
        >>> decode({"__tuple__": [1.0, {"__float__": "inf"}]}, law=dict)
        (1.0, inf)
    """
    if isinstance(value, list):
        return [decode(v, law) for v in value]
    if isinstance(value, dict):
        if "__law__" in value:
            return law(value["__law__"])
        if "__array__" in value:
            plain = value["dtype"] != "object" and not any(isinstance(v, dict) for v in value["__array__"])
            items = value["__array__"] if plain else [decode(v, law) for v in value["__array__"]]
            array = (
                np.empty(len(items), dtype=object)
                if value["dtype"] == "object"
                else np.array(items, dtype=value["dtype"])
            )
            if value["dtype"] == "object":
                array[:] = items
            return array.reshape(value["shape"])
        if "__float__" in value:
            return float(value["__float__"])
        if "__tuple__" in value:
            return tuple(decode(v, law) for v in value["__tuple__"])
        if "__dict__" in value:
            return {decode(k, law): decode(v, law) for k, v in value["__dict__"]}
    return value
