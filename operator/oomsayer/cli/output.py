"""The forms in which commands answer scripts."""

import json

from oomsayer.cli import yaml


def data(answer: object, form: str, indent: int | None = 2) -> str:
    """An answer as text that ends with a line feed.

    Args:
        answer: what JSON can hold.
        form: "json" or "yaml".
        indent: of JSON, None for one line.
    """
    return f"{json.dumps(answer, indent=indent)}\n" if form == "json" else yaml.dump(answer)
