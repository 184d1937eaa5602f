"""What a flow is told besides its profile: any field of it, as a form in the Prefect UI.

A form has the fields of a config, each of them optional; a field that is not given is the
profile's. Prefect checks the form before a run starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
)
from pydantic.fields import FieldInfo

from flows.profiles import Text, named
from tasks.config import BuildConfig, EvaluateConfig, TrainConfig

ProfileName = Literal["sample", "real-small", "single-gpu", "paper"]


F = TypeVar("F", bound="Form")


class Form(BaseModel):
    """Dumps the fields that were given, and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}


def _form(config: type[BaseModel]) -> Any:
    """A form of `config`; of a model in it, a form too."""
    fields = {name: _optional(info) for name, info in config.model_fields.items()}
    return create_model(f"{config.__name__}Form", __base__=Form, __doc__=config.__doc__, **fields)


def _optional(info: FieldInfo) -> Any:
    kind: Any = info.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        kind = _form(kind)
    elif info.metadata:
        kind = Annotated[kind, *info.metadata]

    def no_default(schema: dict[str, Any]) -> None:
        """Else the UI would fill it in, and null is a value."""
        schema.pop("default", None)

    return kind | None, Field(None, description=info.description, json_schema_extra=no_default)


_Build: Any = _form(BuildConfig)
_Train: Any = _form(TrainConfig)
_Evaluate: Any = _form(EvaluateConfig)


class BuildForm(_Build):
    """Fields of a build in which it is to differ from its profile."""


class TrainForm(_Train):
    """Fields of a training in which it is to differ from its profile."""


class EvaluateForm(_Evaluate):
    """Fields of an evaluation in which it is to differ from its profile."""


class RetrainForm(Form):
    """Fields of the three flows in which they are to differ from the profile."""

    build: BuildForm | None = None
    train: TrainForm | None = None
    evaluate: EvaluateForm | None = None


def fill(form: type[F], config: BaseModel, fields: Mapping[str, Any]) -> F | None:
    """The form with `fields` of `config` as the command line gives them; None without fields.

    Raises as profiles.override.
    """
    nested: dict[str, Any] = {}
    for path, value in named(config, fields).items():
        inner = nested
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = value
    return form.model_validate(nested) if nested else None


def fields_of(form: Form | Mapping[str, Any] | None) -> dict[str, Any]:
    """Dotted name -> value of each field that was given: what `profiles.override` takes."""
    if form is None:
        return {}
    fields = form.model_dump(mode="json") if isinstance(form, Form) else form
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": each for inner, each in fields_of(value).items()}
        else:
            found[name] = Text(value) if isinstance(value, str) else value
    return found
