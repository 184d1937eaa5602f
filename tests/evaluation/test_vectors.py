"""A vector that was stored is found again by everybody, and is the right one."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.store import Store
from evaluation.vectors import Matrix, SharedVectors, Space, digests_of, distinct

SPACE = Space(model="m", prompt="p: ", route="", max_length=512, dtype="float32")


def vectors_of(texts: list[str]) -> Matrix:
    return np.array([[len(text), sum(map(ord, text)), 0.5] for text in texts], np.float32)


def read(vectors: SharedVectors, texts: list[str]) -> Matrix:
    out = np.empty((len(texts), 3), np.float32)
    vectors.read(vectors.find(digests_of(texts)), out)
    return out


def add(vectors: SharedVectors, texts: list[str]) -> None:
    vectors.add(digests_of(texts), vectors_of(texts))


@settings(max_examples=20, deadline=None)
@given(
    pieces=st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=8, unique=True), max_size=5),
    asked=st.lists(st.text(max_size=3), max_size=20),
)
def test_what_was_added_is_read_in_the_order_asked(
    pieces: list[list[str]], asked: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        ours = SharedVectors(store, SPACE)
        for piece in pieces:
            add(ours, piece)
        stored = {text for piece in pieces for text in piece}
        known = [text for text in asked if text in stored]
        for vectors in (ours, SharedVectors(store, SPACE)):
            found = vectors.find(digests_of(asked)) >= 0
            assert found.tolist() == [text in stored for text in asked]
            np.testing.assert_array_equal(read(vectors, known), vectors_of(known).reshape(-1, 3))


@given(st.lists(st.integers(0, 3)))
def test_distinct_names_the_first_of_each_and_which_it_is(numbers: list[int]) -> None:
    texts = [str(number) for number in numbers]
    first, which = distinct(digests_of(texts))
    assert sorted(texts[i] for i in first) == sorted(set(texts))
    assert [texts[first[i]] for i in which] == texts
    assert all(texts.index(texts[i]) == i for i in first)


def test_texts_that_share_half_of_their_digest_are_told_apart(tmp_path: Path) -> None:
    vectors = SharedVectors(Store(tmp_path), SPACE)
    digests = np.array([[7, 7, 7, 9], [3, 1, 2, 0]], np.uint64)
    vectors.add(digests, np.arange(12, dtype=np.float32).reshape(4, 3))
    asked = np.array([[7, 7, 7, 7, 9, 9], [2, 3, 1, 4, 0, 1]], np.uint64)
    positions = vectors.find(asked)
    assert (positions >= 0).tolist() == [True, True, True, False, True, False]
    out = np.empty((4, 3), np.float32)
    vectors.read(positions[positions >= 0], out)
    assert out[:, 0].tolist() == [6, 0, 3, 9]


def test_what_another_adds_meanwhile_is_seen(tmp_path: Path) -> None:
    ours, theirs = (SharedVectors(Store(tmp_path), SPACE) for _ in range(2))
    assert (ours.find(digests_of(["a"])) < 0).all() and ours.dimension is None
    add(theirs, ["a"])
    np.testing.assert_array_equal(read(ours, ["a"]), vectors_of(["a"]))
    assert ours.dimension == 3


@pytest.mark.parametrize(
    "other",
    [
        replace(SPACE, model="n"),
        replace(SPACE, prompt="p:"),
        replace(SPACE, route="query"),
        replace(SPACE, max_length=None),
        replace(SPACE, dtype="bfloat16"),
    ],
)
def test_another_space_shares_nothing(other: Space, tmp_path: Path) -> None:
    add(SharedVectors(Store(tmp_path), SPACE), ["a"])
    assert SharedVectors(Store(tmp_path), other).find(digests_of(["a"])).tolist() == [-1]


@pytest.mark.parametrize("damage", ["truncated", "changed", "no manifest", "no digests"])
def test_a_broken_piece_is_passed_over_and_made_again(damage: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    add(SharedVectors(store, SPACE), ["a", "b"])
    (folder,) = store.artifacts()
    add(SharedVectors(store, SPACE), ["c"])
    vectors = folder / "vectors.npy"
    if damage == "truncated":
        vectors.write_bytes(vectors.read_bytes()[:-4])
    elif damage == "changed":
        vectors.write_bytes(vectors.read_bytes()[:-4] + b"\0\0\0\1")
    else:
        (folder / ("manifest.json" if damage == "no manifest" else "digests.npy")).unlink()
    shared = SharedVectors(store, SPACE)
    assert (shared.find(digests_of(["a", "b", "c"])) >= 0).tolist() == [False, False, True]
    add(shared, ["a", "b"])
    for each in (shared, SharedVectors(store, SPACE)):
        np.testing.assert_array_equal(read(each, ["c", "b", "a"]), vectors_of(["c", "b", "a"]))
    assert not store.verify()


def test_a_text_without_a_vector_is_not_read(tmp_path: Path) -> None:
    vectors = SharedVectors(Store(tmp_path), SPACE)
    add(vectors, ["a"])
    with pytest.raises(LookupError, match="no vector"):
        read(vectors, ["a", "b"])


def test_pieces_keep_no_file_open(tmp_path: Path) -> None:
    """A corpus of millions lies in hundreds of pieces, more than a process may hold open."""
    vectors = SharedVectors(Store(tmp_path), SPACE)
    texts = [str(i) for i in range(8)]
    for text in texts:
        add(vectors, [text])
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir()))
    assert len(read(vectors, texts)) == 8
    assert len(list(open_files.iterdir())) == before
