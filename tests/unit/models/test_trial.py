"""A model that does harm is refused with a reason, and harms a child process alone."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infra.config import ROOT
from models import golden, trial
from models.manifest import PUBLISHED, ModelRefused, list_published, published
from models.scorer import load_scorer
from models.trial import LIMITS, Ended, Limits, judge, record_scores, try_model, try_once
from tests.unit.models import hostile
from tests.unit.models.builders import a_folder, a_model
from tests.unit.models.hostile import Edit

MIXES = {"batch_invariant": False}


def unscored(folder: Path, edit: Edit = lambda model: None, **changes: object) -> Path:
    """A folder whose golden rows are still to be scored: nothing but the trial stands between the model and its publication."""
    a_folder(folder, a_model(edit), **changes)
    rows = json.loads((folder / golden.FILE).read_bytes())
    (folder / golden.FILE).write_text(json.dumps({**rows, "scores": []}), "utf-8")
    return folder


def refusal(folder: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(ModelRefused) as refused:
        record_scores(folder, limits)
    return str(refused.value)


@pytest.mark.parametrize("model", list_published(PUBLISHED))
def test_what_is_published_stands_its_trial(model: str) -> None:
    try_model(published(PUBLISHED, model))


def test_a_model_that_stood_its_trial_needs_no_second_one_until_a_bit_of_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, stood, tried = a_folder(tmp_path / "model"), tmp_path / "stood", []

    def counted(folder: Path) -> None:
        tried.append(folder)
        try_model(folder)

    monkeypatch.setattr(trial, "try_model", counted)
    try_once(folder, stood)
    try_once(folder, stood)
    assert len(tried) == 1
    for name in ("model.onnx", "manifest.yaml", "golden.json"):
        file, data = folder / name, (folder / name).read_bytes()
        file.write_bytes(data[: len(data) // 2])
        for _ in range(2):  # nor is a refusal remembered
            with pytest.raises(ModelRefused):
                try_once(folder, stood)
        file.write_bytes(data)
    assert len(tried) == 7
    try_once(folder, stood)
    assert len(tried) == 7


def test_what_no_bytes_describe_is_tried_each_time(tmp_path: Path) -> None:
    folder, stood = a_folder(tmp_path / "model"), tmp_path / "stood"
    os.mkfifo(folder / "a_pipe")
    try_once(folder, stood)
    assert not stood.exists()


def test_the_recorded_scores_are_those_of_the_model(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "good")
    expected = json.loads((folder / golden.FILE).read_bytes())["scores"]
    assert record_scores(unscored(tmp_path / "new")) == expected


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (hostile.zero_by_zero, "model `buys@1`: trial row 0 must score between 0 and 1, got nan; export it with a probability"),
        (hostile.log_of_less_than_nothing, "must score between 0 and 1, got nan; export it with a probability as its output"),
        (hostile.instead_of_the_sigmoid("Identity"), "must score between 0 and 1, got -"),
        (hostile.instead_of_the_sigmoid("Exp"), "must score between 0 and 1, got 1.6487212; export it"),
        (hostile.mixes_rows, "must score the same to the bit in batches of 1 and of 1031, got 0."),
        (hostile.mixes_rows_of_large_batches, "must score the same to the bit in batches of 1031 and of 24001, got 0."),
        (hostile.deep_tree, "model `buys@1`: the process that loads it must live to give an answer, it died of SIGSEGV after it said"),
        (hostile.with_attributes(nodes_featureids=10**9), "model `buys@1`: a batch of 1 must give 1 scores, got Fail ("),
        (
            hostile.with_attributes(nodes_truenodeids=0, nodes_falsenodeids=0, nodes_trueleafs=0, nodes_falseleafs=0),
            "model `buys@1`: onnxruntime does not load model.onnx (",  # a tree that comes back to its root
        ),
        (
            hostile.takes_all_memory,
            "model `buys@1`: its trial must fit into 2048 MiB of memory, it asked for more; publish a smaller model",
        ),
        (
            hostile.grows_with_the_square,
            "it asked for more; publish a smaller model, or one that needs less for a batch of 24001 rows",
        ),
    ],
)
def test_a_model_that_lies_or_does_harm_is_refused_with_the_reason(tmp_path: Path, edit: Edit, sentence: str) -> None:
    assert sentence in refusal(unscored(tmp_path, edit))


def test_a_model_that_takes_too_long_is_ended_by_its_cpu_and_by_the_clock(tmp_path: Path) -> None:
    folder = unscored(tmp_path, hostile.takes_a_minute)
    assert refusal(folder, Limits(cpu_seconds=1)) == (
        "model `buys@1`: its trial must take at most 1 s of CPU, it took more; publish a smaller model"
    )
    assert refusal(folder, Limits(seconds=1.5)) == "model `buys@1`: its trial must end within 1.5 s, it did not; publish a smaller model"


def test_a_good_model_under_limits_that_are_too_small_for_it_is_refused(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    with pytest.raises(ModelRefused, match=r"its trial must fit into 1 MiB of memory, it asked for more; publish a smaller model"):
        try_model(folder, Limits(address_space=1 << 20))
    with pytest.raises(ModelRefused, match=r"its trial must end within 0.01 s, it did not; publish a smaller model"):
        try_model(folder, Limits(seconds=0.01))


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("import ctypes; ctypes.string_at(0)", "it died of SIGSEGV after it said 'nothing'; export the model to ONNX again"),
        ("import os; os.write(2, b'terminate called'); os.abort()", "it died of SIGABRT after it said 'terminate called'"),
        ("import sys; sys.exit(3)", "it ended with status 3 after it said 'nothing'"),
        ("print('[1, 2]')", "it ended with status 0 after it said '[1, 2]'"),
        ("import os, time; os.close(1); os.close(2); time.sleep(60)", "its trial must end within 2 s, it did not"),
        ("while True: print('x' * 10000)", "its trial must end within 2 s, it did not"),
    ],
)
def test_a_child_that_crashes_hangs_or_says_nothing_is_a_reason(tmp_path: Path, program: str, sentence: str) -> None:
    with pytest.raises(ModelRefused) as refused:
        try_model(a_folder(tmp_path), Limits(seconds=2), ("-c", program))
    assert str(refused.value).startswith("model `buys@1`: ")
    assert sentence in str(refused.value)


def test_a_child_whose_parent_is_gone_ends_by_itself_and_may_write_no_file(tmp_path: Path) -> None:
    program = f"""
import signal, sys
sys.path.insert(0, {str(ROOT)!r})
signal.signal(signal.SIGALRM, signal.SIG_IGN)
from models.trial_child import take_limits
take_limits(5, 0.5)
try:
    with open({str(tmp_path / "file")!r}, "w") as file:
        file.write("x")
except OSError as error:
    print(error.strerror, flush=True)
signal.pause()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == -signal.SIGALRM
    assert done.stdout.strip() == "File too large"
    assert judge("model `a@1`", Ended(done.returncode, done.stdout), Limits()).parts[1] == "its trial must end within 60 s, it did not"  # type: ignore[union-attr]


def test_a_model_that_mixes_rows_is_taken_when_its_manifest_says_so_and_keeps_to_its_tolerance(tmp_path: Path) -> None:
    assert len(record_scores(unscored(tmp_path / "wide", hostile.mixes_rows, **MIXES, tolerance=0.9))) == 3
    narrow = refusal(unscored(tmp_path / "narrow", hostile.mixes_rows, **MIXES, tolerance=1e-6))
    assert "must score no more than 1e-06 apart in batches of 1 and of 1031, got 0." in narrow
    assert "a larger `tolerance`" in narrow


def test_names_in_a_model_cannot_write_to_the_terminal_nor_fill_it(tmp_path: Path) -> None:
    said = refusal(unscored(tmp_path, hostile.named_like_a_command))
    assert "uses the operator `ai.onnx.?[2J?AAAA" in said
    assert said.isprintable()
    assert len(said) < 3000


def test_a_file_is_loaded_as_the_format_that_was_checked(tmp_path: Path) -> None:
    data = a_model(hostile.with_the_mark_of_another_format)
    assert data[4:8] == b"ORTM"
    try_model(a_folder(tmp_path, data))


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_flipped_bit_is_refused_or_changes_no_golden_row(tmp_path: Path) -> None:
    """The manifest states the hash of the flipped file, as if its author had made it so."""
    data, taken = a_model(), 0
    for bit in np.random.default_rng(7).integers(0, 8 * len(data), 24).tolist():
        folder = a_folder(tmp_path / str(bit), flipped(data, bit))
        try:
            try_model(folder)
        except ModelRefused as error:
            assert str(error).startswith("model `buys@1`: ")  # noqa: PT017 - either is fine
            continue
        taken += 1
        load_scorer(folder)  # its golden rows are those of the model without the flip
    assert taken < 16


def test_any_flipped_bit_and_any_lost_end_is_refused_by_the_hash(tmp_path: Path) -> None:
    data = a_model()
    ends = [data[:n] for n in (0, 1, len(data) // 2, len(data) - 1)]
    for changed in [*ends, *(flipped(data, bit) for bit in np.random.default_rng(8).integers(0, 8 * len(data), 200).tolist())]:
        folder = a_folder(tmp_path)
        (folder / "model.onnx").write_bytes(changed)
        with pytest.raises(ModelRefused, match=f"must have sha256 [0-9a-f]*, got {hashlib.sha256(changed).hexdigest()}; restore"):
            load_scorer(folder)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.999])
def test_a_lost_end_is_refused_also_when_the_manifest_states_its_hash(tmp_path: Path, keep: float) -> None:
    data = a_model()
    assert "model `buys@1`: model.onnx " in refusal(unscored_bytes(tmp_path, data[: int(keep * len(data))]))


def unscored_bytes(folder: Path, data: bytes) -> Path:
    unscored(folder)
    return a_folder(folder, data)


def test_golden_rows_that_were_changed_are_refused(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    rows = json.loads((folder / golden.FILE).read_bytes())
    rows["scores"][1] += 1e-4
    (folder / golden.FILE).write_text(json.dumps(rows), "utf-8")
    with pytest.raises(ModelRefused, match=r"model `buys@1`: golden row 1 must score 0\.\d+, got 0\.\d+: .*; publish the model again"):
        try_model(folder)


def test_a_job_keeps_the_model_that_it_has_loaded(tmp_path: Path) -> None:
    folder, x = a_folder(tmp_path), np.array([[1, 2], [3, 4], [0, 1]], np.float32)
    running = load_scorer(folder)
    before = running.score(x)
    data = (folder / "model.onnx").read_bytes()
    for changed in (data[:100], flipped(data, 900)):
        (folder / "model.onnx").write_bytes(changed)
        with pytest.raises(ModelRefused, match="must have sha256"):
            try_model(folder)
        assert running.score(x).tobytes() == before.tobytes()
