"""Forms: what the Prefect UI offers of a config, and what comes back from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from flows.forms import (
    BuildForm,
    EvaluateForm,
    ProfileName,
    RetrainForm,
    TrainForm,
    fields_of,
    fill,
)
from flows.profiles import PROFILES, get_profile, override, sections
from tasks.config import BuildConfig, EvaluateConfig, TrainConfig

FORMS = [(BuildForm, BuildConfig), (TrainForm, TrainConfig), (EvaluateForm, EvaluateConfig)]


def _fields(model: type[BaseModel], above: str = "") -> Iterator[str]:
    schema = model.model_json_schema()
    yield from _below(schema, schema, above)


def _below(part: dict[str, Any], schema: dict[str, Any], above: str) -> Iterator[str]:
    for name, kind in part["properties"].items():
        kinds = kind.get("anyOf", [kind])
        inner = [schema["$defs"][k["$ref"].rpartition("/")[2]] for k in kinds if "$ref" in k]
        objects = [k for k in inner if "properties" in k]
        if not objects:
            yield above + name
        for each in objects:
            yield from _below(each, schema, f"{above}{name}.")


@pytest.mark.parametrize(("form", "config"), FORMS)
def test_a_form_has_the_fields_of_its_config(
    form: type[BaseModel], config: type[BaseModel]
) -> None:
    assert sorted(_fields(form)) == sorted(_fields(config))
    assert "required" not in form.model_json_schema()


def test_the_form_offers_the_profiles_there_are() -> None:
    assert get_args(ProfileName) == tuple(PROFILES)


def test_only_what_was_given_differs_from_the_profile() -> None:
    base = get_profile("sample").build
    form = BuildForm.model_validate({"workers": 3, "mining": {"margin": 0.9}, "max_rows": None})
    changed = override(base, fields_of(form))
    mining = base.mining.model_copy(update={"margin": 0.9})
    update = {"workers": 3, "mining": mining, "max_rows": None}
    assert changed == base.model_copy(update=update)
    assert override(base, fields_of(None)) == override(base, fields_of(BuildForm())) == base


@pytest.mark.parametrize("text", ["no", "123", "a: b", "it's", "{", "\x7f"])
def test_a_text_in_a_form_is_that_text(text: str) -> None:
    """Only those of the command line are read as YAML."""
    given = BuildForm.model_validate({"encoder": text, "sources": text})
    changed = override(get_profile("sample").build, fields_of(given))
    assert (changed.encoder, changed.sources) == (text, text)
    retrain = RetrainForm.model_validate({"train": {"encoder": text}})
    train = sections(get_profile("sample"), fields_of(retrain))[1]
    assert override(get_profile("sample").train, train).encoder == text
    again = fill(TrainForm, get_profile("sample").train, train)
    assert again and fields_of(again) == train


def test_what_prefect_keeps_of_a_form_is_what_was_fields_of() -> None:
    form = BuildForm.model_validate({"mining": {"margin": 0.9}})
    assert form.model_dump(mode="json") == {"mining": {"margin": 0.9}}
    assert BuildForm.model_validate_json(form.model_dump_json()) == form


def test_retrains_form_has_the_three_sections() -> None:
    form = RetrainForm.model_validate({"train": {"options": {"steps": 7}}})
    assert sections(get_profile("sample"), fields_of(form)) == ({}, {"options.steps": 7}, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"workers": "many"},
        {"detail": "long"},
        {"mining": {"margn": 1}},
        {"rows": 1},
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        BuildForm.model_validate(wrong)


def test_the_command_lines_fields_are_a_form() -> None:
    config = get_profile("sample").build
    form = fill(BuildForm, config, {"workers": "3", "margin": "0.9", "max-rows": "null"})
    assert form is not None
    assert form.model_dump() == {"workers": 3, "mining": {"margin": 0.9}, "max_rows": None}
    assert fill(BuildForm, config, {}) is None
