"""The base of every group of settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pinsage.config.titles import field_title, group_title


class Settings(BaseModel):
    """Base of every group: frozen, unknown keys and infinite numbers refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        field_title_generator=lambda name, _: field_title(name),
        model_title_generator=lambda model: group_title(model.__name__),
    )
