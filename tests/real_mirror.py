"""Lay a real data folder out as a mirror (`--mirror` / MEDI_MIRROR).

    python tests/real_mirror.py MIRROR [--data DIR] [--copy]

DIR is the real data folder (default: MEDI_REAL_DATA, else ../shared/data beside the repo). A file
lies in the mirror at `<host>/<repository>/<path>`, as artifacts.location reads it:

    github.com/allenai/natural-instructions/tasks/taskNNN_*.json
    github.com/google-deepmind/xquad/xquad.en.json
    github.com/multi30k/dataset/data/task2/raw/train.{1..5}.en.gz (also val, test_2016)
    github.com/pubmedqa/pubmedqa/data/ori_pqal.json
    github.com/google-research-datasets/natural-questions/nq_open/NQ-open.dev.jsonl
    github.com/FlagOpen/FlagEmbedding/examples/finetune/embedder/example_data/retrieval/nq.jsonl ...
    github.com/huggingface/datasets/datasets/<name>/dummy/.../dummy_data.zip
    github.com/PhilipMay/stsb-multi-mt/data/stsb-en-{train,dev,test}.csv
    github.com/brmson/dataset-sts/data/sts/semeval-sts/<year>/<source>.test.tsv
    github.com/architrathore/QueClassifier/data/train_5500.label
    github.com/IndarF/data-6-materials-student/project/project_final/datasets/emotion.csv
    archive.ics.uci.edu/ml/machine-learning-databases/20newsgroups-mld/mini_newsgroups.tar.gz
    github.com/xlang-ai/instructor-embedding/evaluation/text_evaluation/data/<set>/*.jsonl
    github.com/embeddings-benchmark/mteb/PromptRetrieval/data/<task>_{train,eval}.json
    huggingface.co/sentence-transformers/all-MiniLM-L6-v2/  (a whole model folder)
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

# (folder under the data folder, which of its files, folder under the mirror)
LAYOUT = (
    ("train/superni/tasks", "task*.json", "github.com/allenai/natural-instructions/tasks"),
    ("train/squad_xquad", "xquad.*.json", "github.com/google-deepmind/xquad"),
    ("train/multi30k/data", "**/*.gz", "github.com/multi30k/dataset/data"),
    ("train/pubmedqa", "ori_pqal.json", "github.com/pubmedqa/pubmedqa/data"),
    (
        "train/nq_open",
        "*.jsonl",
        "github.com/google-research-datasets/natural-questions/nq_open",
    ),
    ("train/flagembedding_examples", "**/*.json*", "github.com/FlagOpen/FlagEmbedding"),
    ("train/upstream_layouts", "**/*.zip", "github.com/huggingface/datasets/datasets"),
    ("eval/stsb", "*.csv", "github.com/PhilipMay/stsb-multi-mt/data"),
    ("eval/sts", "20*/*", "github.com/brmson/dataset-sts/data/sts/semeval-sts"),
    ("eval/trec_qc", "*.label", "github.com/architrathore/QueClassifier/data"),
    (
        "eval/emotion",
        "emotion.csv",
        "github.com/IndarF/data-6-materials-student/project/project_final/datasets",
    ),
    (
        "eval/newsgroups",
        "*.tar.gz",
        "archive.ics.uci.edu/ml/machine-learning-databases/20newsgroups-mld",
    ),
    (
        "eval/billboard",
        "*/*.jsonl",
        "github.com/xlang-ai/instructor-embedding/evaluation/text_evaluation/data",
    ),
    (
        "eval/prompt_retrieval",
        "*.json",
        "github.com/embeddings-benchmark/mteb/PromptRetrieval/data",
    ),
    (
        "../models/all-MiniLM-L6-v2-fp16",
        "**/*",
        "huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    ),
)


def mirrored(data: Path) -> Iterator[tuple[Path, str]]:
    """(file of the data folder, its path in the mirror), in a fixed order."""
    for folder, which, target in LAYOUT:
        root = data / folder
        for file in sorted(root.glob(which)):
            if file.is_file():
                yield file, f"{target}/{file.relative_to(root).as_posix()}"


def lay_out(data: Path, mirror: Path, *, copy: bool = False) -> int:
    """Link (or copy) what `data` has into `mirror`; the number of files. What is there stays."""
    count = 0
    for file, path in mirrored(data):
        target = mirror / path
        target.parent.mkdir(parents=True, exist_ok=True)
        count += 1
        if target.exists():
            continue
        if copy:
            shutil.copyfile(file, target)
        else:
            target.symlink_to(file.resolve())
    return count


def main() -> None:
    beside = Path(__file__).resolve().parents[1] / "../shared/data"
    parser = argparse.ArgumentParser(description="Lay a real data folder out as a mirror.")
    parser.add_argument("mirror", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MEDI_REAL_DATA", beside)))
    parser.add_argument("--copy", action="store_true", help="copy instead of linking")
    args = parser.parse_args()
    if not args.data.is_dir():
        parser.error(f"{args.data} is no folder: give the real data folder with --data")
    print(f"{lay_out(args.data, args.mirror, copy=args.copy)} files in {args.mirror}")


if __name__ == "__main__":
    main()
