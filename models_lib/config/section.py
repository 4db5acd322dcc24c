"""What every section of the configuration is made of: the closed base, and numbers with their limits.

What does not belong here: any particular section.
"""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _is_of_numbers(kind: Any) -> bool:
    """Whether int or float is part of the type."""
    return kind in (int, float) or any(map(_is_of_numbers, get_args(kind)))


class Section(BaseModel):
    """A closed, immutable part of the configuration."""

    # Faults are explained in loading.py; pydantic's own text would repeat a secret that was put into the file.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes, on and true as truth, which Python would take for 1."""
        found = any(isinstance(one, bool) for one in (value if isinstance(value, list) else [value]))
        if found and _is_of_numbers(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("must be a number")
        return value
