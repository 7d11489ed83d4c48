"""A snapshot as what is served: the JSON document."""

from __future__ import annotations

import json

from monitoring import wire

JSON_CONTENT_TYPE = "application/json"


def to_json(document: wire.MetricsDocument) -> bytes:
    """The metrics document, ready to be sent."""
    return json.dumps(wire.dump(document), separators=(",", ":"), ensure_ascii=False).encode()
