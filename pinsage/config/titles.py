"""Titles of the form's fields and groups, made from their names: `memory_mib` is Memory (MiB)."""

from __future__ import annotations

_UNITS = {"days": "days", "hours": "hours", "mib": "MiB"}
_NAMES = {
    "ease": "EASE", "hnsw": "HNSW", "id": "ID", "ks": "K", "mlflow": "MLflow", "mrr": "MRR",
    "pixie": "Pixie", "prefect": "Prefect", "psi": "PSI", "q": "Q", "uri": "URI", "url": "URL",
}  # fmt: skip


def field_title(name: str) -> str:
    """Words of a field's name, in the case that people write them in; a unit in brackets."""
    words = name.split("_")
    unit = _UNITS.get(words[-1]) if len(words) > 1 else None
    said = [_NAMES.get(word, word) for word in (words[:-1] if unit else words)]
    said[0] = said[0][0].upper() + said[0][1:]
    return " ".join(said) + (f" ({unit})" if unit else "")


def group_title(name: str) -> str:
    """A group's class without its ending: ItemsConfig is Items."""
    return name.removesuffix("Config") or "Configuration"
