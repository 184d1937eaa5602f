"""Annotations of evaluation tasks: each task has one, well worded, and published texts stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotations.lint import lint_evaluation
from annotations.load import EVALUATION_FOLDER, load_all_evaluation, load_evaluation
from annotations.render import END, instructions, template
from annotations.schema import EvaluationAnnotation, EvaluationSide
from artifacts.errors import InputError
from evaluation.paper import MTEB_56

BILLBOARD = ("BillboardMSCOCO", "BillboardCNNDM", "BillboardWMT")
PROMPT_RETRIEVAL = (
    "PromptRTE",
    "PromptSST5",
    "PromptMRPC",
    "PromptDBpedia14",
    "PromptHellaSwag",
    "PromptAmazon",
    "PromptMultiRC",
    "PromptCivilComments",
    "PromptCODA19",
    "PromptGeoQuery",
    "PromptMultiWOZ",
)
OURS = ("TRECQuestionClassification", "MiniNewsgroupsClustering", "SQuADParagraphRetrieval")
SAMPLE = (
    "SampleSTS",
    "SampleClassification",
    "SampleClustering",
    "SampleRetrieval",
    "SampleCaptions",
    "SamplePromptRetrieval",
)
TASKS = {*MTEB_56, *BILLBOARD, *PROMPT_RETRIEVAL, *OURS, *SAMPLE}
# A query and a document are texts of two kinds; in all other tasks all texts are of one.
ASYMMETRIC = {
    "ArguAna",
    "CQADupstackRetrieval",
    "ClimateFEVER",
    "DBPedia",
    "FEVER",
    "FiQA2018",
    "HotpotQA",
    "MSMARCO",
    "MindSmallReranking",
    "NFCorpus",
    "NQ",
    "SCIDOCS",
    "SQuADParagraphRetrieval",
    "SampleRetrieval",
    "SciFact",
    "TRECCOVID",
    "Touche2020",
}

SIMILARITY = "Represent the sentence for judging how similar two sentences are in meaning: "
KIND_OF_ANSWER = "Represent the question for classifying the kind of answer it asks for: "
NEWSGROUP = "Represent the newsgroup message for clustering by topic: "
CAPTION = "Represent the image caption for judging it by other captions of the image: "
# Scores have been published with these.
PUBLISHED = {
    "STSBenchmark": (SIMILARITY, SIMILARITY),
    "STS12": ("Represent the statement for finding statements of the same meaning: ",) * 2,
    "STS13": ("Represent the headline or definition for finding one of the same meaning: ",) * 2,
    "STS14": ("Represent the web sentence for judging semantic similarity: ",) * 2,
    "STS15": ("Represent the short text for judging semantic similarity: ",) * 2,
    "TRECQuestionClassification": (KIND_OF_ANSWER, KIND_OF_ANSWER),
    "MiniNewsgroupsClustering": (NEWSGROUP, NEWSGROUP),
    "SQuADParagraphRetrieval": (
        "Represent the Wikipedia question for retrieving the paragraph that answers it: ",
        "Represent the Wikipedia paragraph for retrieval: ",
    ),
    "BillboardMSCOCO": (CAPTION, CAPTION),
    "SampleSTS": (SIMILARITY, SIMILARITY),
    "SampleClassification": (KIND_OF_ANSWER, KIND_OF_ANSWER),
    "SampleClustering": (NEWSGROUP, NEWSGROUP),
    "SampleRetrieval": (
        "Represent the question for retrieving the paragraph that answers it: ",
        "Represent the paragraph for retrieval: ",
    ),
    "SampleCaptions": (CAPTION, CAPTION),
}

REWORDINGS = tuple(f"Represent the chart {i}" for i in "abcde")
PLAIN = f"""\
task: Charts
query:
  text_type: chart
  tag: Charts chart
  simple: sea chart
  paraphrases: [{", ".join(REWORDINGS)}]
"""


def side(**changes: object) -> EvaluationSide:
    fields: dict[str, object] = {
        "text_type": "chart",
        "tag": "Charts chart",
        "simple": "sea chart",
        "paraphrases": REWORDINGS,
    }
    return EvaluationSide.model_validate({**fields, **changes})


def charts(task: str = "Charts", **changes: object) -> EvaluationAnnotation:
    return EvaluationAnnotation(task=task, query=side(**changes))


@pytest.fixture(scope="module")
def annotations() -> dict[str, EvaluationAnnotation]:
    return load_all_evaluation()


def test_every_task_is_annotated_without_fault_and_nothing_else_is(
    annotations: dict[str, EvaluationAnnotation],
) -> None:
    assert len(TASKS) == 79 and ASYMMETRIC < TASKS
    assert lint_evaluation({task: task not in ASYMMETRIC for task in TASKS}, annotations) == []
    assert {path.name for path in EVALUATION_FOLDER.iterdir()} == {f"{t}.yaml" for t in TASKS}


def test_a_task_has_six_wordings_of_which_no_two_are_alike(
    annotations: dict[str, EvaluationAnnotation],
) -> None:
    for name, annotation in annotations.items():
        for part in filter(None, (annotation.query, annotation.document)):
            wordings = [template(part), *part.paraphrases]
            assert len({frozenset(text.lower().split()) for text in wordings}) == 6, name


@pytest.mark.parametrize("task", sorted(PUBLISHED))
def test_instructions_of_published_scores_stay_as_they_are(task: str) -> None:
    assert instructions(load_evaluation(task)) == PUBLISHED[task]


def test_levels_and_paraphrases_are_the_texts_as_written() -> None:
    document = side(text_type="island", simple="isle", tag="Charts island")
    annotation = EvaluationAnnotation(task="Charts", query=side(), document=document)
    assert instructions(annotation, "none") == ("", "")
    assert instructions(annotation, "tag") == ("Charts chart: ", "Charts island: ")
    assert instructions(annotation, "simple") == ("sea chart: ", "isle: ")
    assert instructions(annotation) == ("Represent the chart: ", "Represent the island: ")
    for i, text in enumerate(REWORDINGS):
        assert instructions(annotation, paraphrase=i) == (text + END,) * 2


@pytest.mark.parametrize("level, paraphrase", [("detailed", 5), ("detailed", -1), ("simple", 0)])
def test_paraphrase_that_does_not_exist_is_refused(level, paraphrase) -> None:
    with pytest.raises(InputError, match=f"{paraphrase} at level {level}: .* 0 to 4, of level det"):
        instructions(charts(), level, paraphrase)


def test_empty_field_never_becomes_an_instruction() -> None:
    with pytest.raises(InputError, match=r"annotation of Charts: field query\.tag is empty"):
        instructions(charts(tag=" "), "tag")


def test_missing_annotation_says_which_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^task Charts has no annotation: write .*Charts\.yaml"):
        load_evaluation("Charts", tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        (PLAIN.replace("task: Charts", "task: Chart"), "field task: 'Chart', the file name says"),
        (PLAIN.replace("task: Charts", "task: ''"), "field task: "),
        (PLAIN.replace("task: Charts", "dataset: Charts"), "field dataset: no such field"),
        (PLAIN.replace(", Represent the chart e", ""), r"field query\.paraphrases\.4: "),
        (PLAIN.replace("chart e", "chart e, Represent it"), r"field query\.paraphrases: "),
        (PLAIN.replace("simple:", "simpel:"), r"field query\.simpel: no such field"),
        (PLAIN.replace("  tag: Charts", "  tag: Charts: the"), "line 4 not valid YAML"),
        (PLAIN + "document: {}\n", r"field document\.text_type: Field required"),
        (PLAIN + "task: Charts\n", r"line 7 .*field task stands there twice"),
    ],
)
def test_bad_file_is_one_line_naming_the_fault(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "Charts.yaml").write_text(PLAIN, encoding="utf-8")
    assert load_evaluation("Charts", tmp_path) == charts()
    (tmp_path / "Charts.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_evaluation("Charts", tmp_path)
    assert "Charts.yaml: " in str(caught.value) and "\n" not in str(caught.value)


def test_lint_finds_the_faults_of_a_task() -> None:
    last_alike = (*REWORDINGS[:4], "Represent the chart A")
    annotated = {"Charts": charts(paraphrases=last_alike), "Maps": charts("Maps", simple="a maps")}
    shared = ("Charts chart", *REWORDINGS[:4], "Represent the chart")
    assert lint_evaluation({"Charts": False, "Tides": True}, annotated) == [
        "Charts: document: the task is asymmetric: add document",
        "Charts: query.paraphrases.4: says the same as paraphrases.0",
        "Maps: no such task in the catalog",
        "Maps: query.simple: 'a maps' mixes singular and plural",
        *(f"Maps: same instruction as Charts: {text!r}" for text in shared),
        "Tides: no annotation: write Tides.yaml, next to the others",
    ]


@pytest.mark.parametrize("task, shared", [("SampleCharts", False), ("ChartsSample", True)])
def test_only_tasks_of_the_sample_may_share_instructions(task: str, shared: bool) -> None:
    annotated = {"Charts": charts(), task: charts(task)}
    assert bool(lint_evaluation({"Charts": True, task: True}, annotated)) == shared
