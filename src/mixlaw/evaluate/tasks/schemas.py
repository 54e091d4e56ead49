"""JSON schemas, by the library jsonschema."""

from __future__ import annotations

from typing import Any

from mixlaw.errors import DataError
from mixlaw.kit.extras import require_extra

__all__ = ["checked_schema", "matches"]


def checked_schema(schema: Any, what: str) -> Any:
    """A schema, where it is a sound one.

    Args:
        schema: of JSON, draft 2020-12 unless it says another in ``$schema``.
        what: names it in the message.

    Raises:
        DataError: it is none.
        MissingExtraError: jsonschema is not installed.

    Example:
        >>> checked_schema({"type": "strin"}, "'schema'")
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: has no sound JSON schema as 'schema': 'strin' is not valid ...
    """
    jsonschema = require_extra("jsonschema", "evaluate")
    if not isinstance(schema, dict | bool):
        raise DataError(f"has no sound JSON schema as {what}: {str(schema)[:60]!r} is no object.")
    try:
        jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise DataError(f"has no sound JSON schema as {what}: {error.message}.") from None
    return schema


def matches(value: Any, schema: Any) -> bool:
    """Whether a JSON value keeps a schema.

    References to other files are not followed.

    Raises:
        DataError: the schema refers to what is not in it.
        MissingExtraError: jsonschema is not installed.

    Example:
        >>> matches({"a": 1}, {"required": ["b"]}), matches({"b": 1}, {"required": ["b"]})
        (False, True)
    """
    jsonschema = require_extra("jsonschema", "evaluate")
    referencing = require_extra("referencing", "evaluate")
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    try:
        return bool(validator(schema, registry=referencing.Registry()).is_valid(value))
    except referencing.exceptions.Unresolvable as error:
        raise DataError(f"A JSON schema refers to {error.ref!r}, which is not in it. Put it there.") from None
