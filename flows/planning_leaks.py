"""What decontamination would do: the texts of which evaluation tasks, against which datasets."""

from __future__ import annotations

from collections.abc import Mapping

from artifacts.keys import Spec
from artifacts.location import HubFiles
from evaluation.catalog import load_catalog
from evaluation.records import EvalTask
from evaluation.texts import VERSION as TEXTS_VERSION
from evaluation.texts import mteb_data
from flows.planning_steps import fetch_spec
from medi_sources import leaks
from tasks.steps import DataStep, LeaksStep, Setting, TextsStep


def plan_leaks(mined: Mapping[str, Spec], setting: Setting) -> LeaksStep | None:
    """None where no evaluation task is to be kept out, or there is nothing to look through.

    Raises InputError for a task that neither medi nor mteb knows.
    """
    options = setting.config.decontamination
    if not options.tasks or not mined:
        return None
    own = load_catalog()
    texts = [_texts(name, own.get(name), setting) for name in sorted(set(options.tasks))]
    inputs = {f"texts of {each.spec.dataset}": each.spec.key for each in texts}
    inputs |= {f"rows of {name}": spec.key for name, spec in mined.items()}
    params = {"ngram": options.ngram, "least_words": options.least_words}
    spec = Spec("decontaminate", "medi", leaks.VERSION, params, inputs)
    return LeaksStep(spec, texts, mined, setting.store.problem(spec))


def _texts(name: str, task: EvalTask | None, setting: Setting) -> TextsStep:
    config, problem = setting.config, setting.store.problem
    if task is None or task.location is None:
        hub = dict(task.mteb or {}) if task else mteb_data(name)
        spec = Spec("texts", name, TEXTS_VERSION, {"mteb": name, "data": hub})
        # Every repository has a card: where that is, or can be had, the data are too.
        at = [HubFiles(repository=r, revision=v, files=("README.md",)) for r, v in hub.items()]
        return TextsStep(spec, None, None, at, problem(spec))
    files = fetch_spec(f"eval-{name}", task.location, config.origin, config.seed)
    prompt = task.prompt.model_dump(mode="json") if task.prompt else None
    params = {"layout": task.layout, "test_rows": task.test_rows, "prompt": prompt}
    spec = Spec("texts", name, TEXTS_VERSION, params, {"data": files.key})
    data = DataStep(files, task.location, problem(files))
    return TextsStep(spec, task, data, [task.location], problem(spec))
