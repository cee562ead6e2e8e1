"""Two ranks against a single process. torchrun starts them once for all tests that need them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import two_processes
from helpers.tiny import arguments, make_dataset
from helpers.training import CPU, Killed, changed, tiny_model

from uda.compute import distributed as processes
from uda.compute.batch_norm import synchronise
from uda.runs.folder import open_run

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def launch(*command, **more):
    return subprocess.run(
        [*TORCHRUN, *map(str, command)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        **more,
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("tiny"), per_class=5)


@pytest.fixture(scope="module")
def single(dataset, tmp_path_factory):
    """Weights and runs of a single process, and a run that was killed in its second epoch."""
    folder = tmp_path_factory.mktemp("single")
    with pytest.raises(Killed):
        two_processes.adapted(dataset, folder / "killed", kill_at=2)
    for name in two_processes.JOINT_METHODS:
        with pytest.raises(Killed):
            two_processes.joint(dataset, folder / "killed", name, kill_at=2)
    return {
        "folder": folder,
        "adapted": two_processes.adapted(dataset, folder),
        "rrda": {
            name: two_processes.adapted(dataset, folder, objective=name)
            for name in two_processes.OBJECTIVES
        },
        "trained": two_processes.trained(dataset, folder),
        "joint": {
            name: two_processes.joint(dataset, folder, name) for name in two_processes.JOINT_METHODS
        },
    }


@pytest.fixture(scope="module")
def ranks(dataset, single):
    """The results of each of two ranks; their runs are in the folder of `single`."""
    done = launch("tests/helpers/two_processes.py", dataset, single["folder"])
    assert done.returncode == 0, "\n".join(re.findall(r"\[rank.*", done.stderr))
    assert done.stdout.count("2 processes, one run, on cpu") == 1
    return [torch.load(single["folder"] / f"{rank}.pt", weights_only=False) for rank in range(2)]


def assert_near(first, second, tolerance=1e-4):
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            value, second[name], atol=tolerance, rtol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.slow
def test_two_ranks_adapt_to_the_weights_and_metrics_of_a_single_process(single, ranks):
    for rank in ranks:
        assert rank["count"] == 2
        assert_near(rank["adapted"], single["adapted"])
    assert not changed(ranks[0]["adapted"], ranks[1]["adapted"])
    alone = open_run(single["folder"], "adapt", {})
    together = open_run(single["folder"] / "two", "adapt", {})
    for kind in ("adapt", "evaluate"):
        lines = [run.metrics(kind) for run in (alone, together)]
        assert len(lines[0]) == len(lines[1]) >= 3
        for ours, theirs in zip(*lines, strict=True):
            assert ours.keys() == theirs.keys()
            for key, value in ours.items():
                if key not in ("run", "version", "time", "kind"):
                    assert theirs[key] == pytest.approx(value, rel=1e-3), key
    # Only the first rank writes.
    assert len((together.folder / "metrics.jsonl").read_text().splitlines()) == 7
    files = [sorted(p.name for p in run.folder.rglob("*")) for run in (alone, together)]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", two_processes.JOINT_METHODS)
def test_two_ranks_learn_from_source_and_target_as_a_single_process(single, ranks, name):
    """The method's own layers too, and where two ranks go on with what one began."""
    expected = single["joint"][name]
    for rank in ranks:
        assert_near(rank["joint"][name], expected)
        assert_near(rank["resumed joint"][name], expected)
    assert not changed(ranks[0]["joint"][name], ranks[1]["joint"][name])


@pytest.mark.slow
@pytest.mark.parametrize("objective", two_processes.OBJECTIVES)
def test_two_ranks_train_further_rows_without_the_source_as_a_single_process(
    single, ranks, objective
):
    for rank in ranks:
        assert "heads.unknown.weight" in rank["rrda"][objective]
        assert_near(rank["rrda"][objective], single["rrda"][objective])
    assert not changed(*(rank["rrda"][objective] for rank in ranks))


@pytest.mark.slow
def test_two_ranks_train_to_the_weights_of_a_single_process(single, ranks):
    """On augmented copies, with batches that are mixed as a whole."""
    weights, seen = single["trained"]
    for rank in ranks:
        assert_near(rank["trained"][0], weights)
        assert rank["trained"][1] == seen
    run = open_run(single["folder"] / "two", "train", {})
    losses = [line["loss"] for line in run.metrics("train")]
    expected = open_run(single["folder"], "train", {}).metrics("train")
    assert losses == pytest.approx([line["loss"] for line in expected], rel=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(single, ranks, dataset, tmp_path):
    assert_near(ranks[0]["resumed"], single["adapted"])
    # And the other way: a single process takes up what two ranks have finished.
    assert not changed(
        two_processes.adapted(dataset, single["folder"] / "two"), ranks[0]["adapted"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 300])  # a single batch; three, the last cut short
def test_the_banks_of_two_ranks_equal_a_single_processs_to_the_bit(ranks, count):
    expected = two_processes.bank_of(two_processes.many_images(count))
    for rank in ranks:
        for ours, theirs in zip(rank["banks"][count], expected, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", two_processes.LAYERS)
def test_batch_norm_over_two_shares_equals_the_whole_batchs(ranks, name):
    expected = two_processes.normalised(name)
    assert len(expected) >= 4
    for rank in ranks:
        assert_near(rank["layers"][name], expected, 1e-11)


@pytest.mark.slow
def test_what_the_first_rank_computes_reaches_the_second(ranks):
    for rank in ranks:
        assert rank["drawn"]["rank"] == 0
        assert rank["drawn"]["x"].tolist() == [0, 0]


@pytest.mark.slow
def test_a_stage_returns_when_its_run_is_done(ranks):
    for rank in ranks:
        assert rank["stages"] == [True, True]


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_an_error(ranks):
    for rank in ranks:
        assert rank["odd adapt"].startswith("adapt.batch_size: 9 images cannot be shared evenly")
        assert rank["odd train"].startswith("train.batch_size: 7 images cannot be shared evenly")
        assert rank["odd train"].endswith("take a multiple of 2")


@pytest.mark.slow
def test_a_mistake_is_reported_once(dataset, tmp_path):
    flags = arguments(dataset, tmp_path / "runs", "--data.target", "Drak")
    done = launch("-m", "uda.cli", "adapt", *flags)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("uda: error")]
    assert lines == ["uda: error: Tiny has no domain 'Drak'; it has Plain, Dark"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_ranks_adapt_a_users_folders(dataset, tmp_path):
    """From training through adapting to the answers, on which both ranks work."""
    pictures, runs = dataset.parent / "pictures", tmp_path / "runs"
    flags = [flag for flag in arguments(dataset, runs) if not flag.startswith("--data.")]
    folders = ("--source", pictures / "Plain", "--target", pictures / "Dark")
    done = launch("-m", "uda.cli", "run", *folders, *flags, "--adapt.method=source_only")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("25 pictures: ") == 1
    (table,) = runs.glob("*/predictions.csv")
    assert len(table.read_text().splitlines()) == 26


def test_a_single_process_shares_and_gathers_nothing():
    batch = torch.rand(5, 2, requires_grad=True)
    assert processes.count() == 1
    assert processes.is_main()
    assert processes.share(batch) is processes.gather(batch) is batch
    assert processes.span_of(7) == (0, 7)
    processes.check_batch("adapt.batch_size", 7)
    model = tiny_model(3)
    before = list(map(type, model.modules()))
    synchronise(model, CPU)
    assert list(map(type, model.modules())) == before
    processes.finish()


def test_a_launcher_that_starts_fewer_processes_than_asked_is_an_error():
    by_accelerate = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_CPU": "True"}
    processes.check_environment({})
    processes.check_environment(by_accelerate)
    several = {**by_accelerate, "MASTER_ADDR": "127.0.0.1"}
    processes.check_environment({**several, "WORLD_SIZE": "2", "RANK": "0"})
    with pytest.raises(ValueError, match="asked for several processes and started one"):
        processes.check_environment(several)


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_several_processes_cannot_share_a_named_device(monkeypatch, device):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=f"device: '{device}' with 2 processes"):
        processes.join(device)


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 processes on a machine with 1 GPUs"):
        processes.join("cuda")
