"""What columns of the ledger hold as JSON."""

from __future__ import annotations

import json
from typing import Any

import orjson


def loads(text: str) -> Any:
    """The value of a JSON column.

    Names of files that are no UTF-8 hold halves of surrogates, which the fast reader takes for damage.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
