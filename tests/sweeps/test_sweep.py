import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main, parse
from uda.config import (
    CONFIGS,
    AdaptConfig,
    AugmentConfig,
    DataConfig,
    Experiment,
    ModelConfig,
    SweepConfig,
    read_yaml,
)
from uda.data.spec import load_dataset_spec
from uda.runs import lock as locks
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs, open_run
from uda.stages.identity import adapt_run, source_run
from uda.sweeps.costs import in_words, seconds_of, size_in_words
from uda.sweeps.engine import Outcome, Schedule
from uda.sweeps.plan import Job, plan
from uda.sweeps.record import read_plan
from uda.sweeps.sweep import describe

ROOT = Path(__file__).resolve().parents[2]
SPEC = load_dataset_spec("emoji_home")


def experiment(runs="runs", scenario="opda", **sweep):
    options = {"genmix": {"edits_per_image": 6}}
    return Experiment(
        data=DataConfig(scenario=scenario),
        augment=AugmentConfig(options=options),
        adapt=AdaptConfig(epochs=10),
        sweep=SweepConfig(**sweep),
        runs=str(runs),
    )


# The plan.


def test_every_run_once_and_sources_before_what_needs_them():
    jobs, expected = plan(experiment(pairs=["Tw2Fl", "Tw2No", "No2Fl"], seeds=[0, 2]), SPEC)
    trained = [job for job in jobs if job.stage == "train"]
    assert len(trained) == 2 * 2 * 2  # Twemoji and Noto, without and with GenMix, two seeds
    assert len(jobs) - len(trained) == len(expected) == 3 * 2 * 2 * 2
    assert len({job.run.folder for job in jobs}) == len(jobs)
    seen: set[Path] = set()
    for job in jobs:
        assert job.needs is None or job.needs in seen
        seen.add(job.run.folder)
    assert {one.run_folder for one in expected} == {
        job.run.folder for job in jobs if job.stage == "adapt"
    }
    # By pair, then row, then seed; the first seed of all is run first.
    assert [(one.pair, one.row_title, one.seed) for one in expected[:5]] == [
        ("Tw2Fl", "Source-only", 0),
        ("Tw2Fl", "Source-only", 2),
        ("Tw2Fl", "Source + GenMix", 0),
        ("Tw2Fl", "Source + GenMix", 2),
        ("Tw2Fl", "LEAD", 0),
    ]
    assert [job.experiment.seed for job in jobs] == [0] * 16 + [2] * 16


def test_the_runs_are_those_of_the_single_commands():
    jobs, _ = plan(experiment(pairs=["Tw2Fl"], methods=["lead"], augmentations=["genmix"]), SPEC)
    single = replace(
        experiment(),
        data=DataConfig(scenario="opda", source="Twemoji", target="Fluent3D"),
        augment=AugmentConfig("genmix", options={"genmix": {"edits_per_image": 6}}),
    )
    assert [job.run for job in jobs] == [source_run(single, SPEC), adapt_run(single, SPEC)]


def test_all_pairs_and_in_domain_training():
    _, expected = plan(experiment(methods=["lead"], augmentations=["none"]), SPEC)
    assert len({one.pair for one in expected}) == 5 * 4
    jobs, expected = plan(experiment(scenario="", pairs=["No", "Twemoji"]), SPEC)
    assert [job.stage for job in jobs] == ["train"] * 4
    assert [(one.pair, one.target, one.row_title) for one in expected] == [
        ("No", "", "No augmentation"),
        ("No", "", "GenMix"),
        ("Tw", "", "No augmentation"),
        ("Tw", "", "GenMix"),
    ]
    assert len(plan(experiment(scenario=""), SPEC)[1]) == 5 * 2


def test_a_source_is_trained_only_for_what_is_left(tmp_path):
    wanted = experiment(tmp_path, pairs=["Tw2Fl"], methods=["lead"], seeds=[0])
    jobs, _ = plan(wanted, SPEC)
    assert [job.stage for job in jobs] == ["train", "train", "adapt", "adapt"]
    jobs[2].run.start()
    jobs[2].run.mark_done()  # unpacked from elsewhere, say
    left, expected = plan(wanted, SPEC)
    assert [job.title for job in left] == [job.title for job in jobs[1:]]
    assert len(expected) == 2


def test_entries_are_laid_over_the_experiment():
    jobs, expected = plan(
        experiment(
            pairs=["Tw2Fl"],
            methods=["lead", {"method": "shot_o", "epochs": 15, "rate": 1, "batch_norm": "source"}],
            augmentations=[
                {"name": "genmix", "copies": 2},
                {"title": "In-domain", "name": "genmix", "options": {"genmix": {"prompts": "all"}}},
            ],
        ),
        SPEC,
    )
    assert [one.row_title for one in expected] == [
        "LEAD + GenMix",
        "LEAD + In-domain",
        "SHOT-O + GenMix",
        "SHOT-O + In-domain",
    ]
    assert [job.kind for job in jobs[:2]] == ["train + GenMix", "train + In-domain"]
    last = jobs[-1].run.config
    assert last["adapt"]["epochs"] == 15
    assert type(last["adapt"]["rate"]) is float
    assert last["adapt"]["batch_norm"] == "source"
    options = last["source"]["augment"]["options"]
    assert (options["prompts"], options["edits_per_image"]) == ("all", 6)
    assert jobs[0].run.config["augment"]["copies"] == 2


def test_rows_that_need_the_same_edits_wait_for_one_another():
    def row(title, **options):
        return {"title": title, "name": "genmix", "options": {"genmix": options}}

    rows = [
        "mixup",
        "genmix",
        row("no fractal", fractal_weight=0.0, join="cutmix"),
        row("by name", prompts="graffiti, retro comic, chalk drawing, watercolor painting, "
            "digital art, cartoon style"),
        row("other prompts", prompts="in-domain"),
        row("another editor", editor="instruct-pix2pix"),
        row("more", edits_per_image=7),
        row("not screened", screening="none"),
    ]  # fmt: skip
    jobs, _ = plan(experiment(pairs=["Tw2Fl", "No2Fl"], augmentations=rows, seeds=[0, 1]), SPEC)
    trained = [job for job in jobs if job.stage == "train"]
    kinds = {}
    for job in trained:
        kinds.setdefault(job.prepares, []).append(job.title)
    assert all("Mixup" in title for title in kinds.pop(""))
    same = [f"train + {name} Tw s{seed}" for seed in (0, 1)
            for name in ("GenMix", "no fractal", "by name")]  # fmt: skip
    assert same in list(kinds.values())
    assert len(kinds) == 2 * 5  # Twemoji's and Noto's


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"pairs": ["Tw2Xx"]}, "no pair 'Tw2Xx'"),
        ({"pairs": []}, "sweep.pairs: names none"),
        ({"methods": ["leed"]}, "'leed' is not one of"),
        ({"methods": [{"method": "lead", "epoch": 3}]}, "unknown key 'epoch'"),
        ({"methods": [{"method": "lead", "checkpoint": "a.pt"}]}, "unknown key 'checkpoint'"),
        ({"methods": [{"epochs": 3}]}, "lacks the key 'method'"),
        ({"methods": [{"method": "lead", "epochs": "3"}]}, "epochs: '3' is not a int"),
        ({"methods": ["lead", {"method": "lead", "epochs": 3}]}, "two rows are called 'LEAD"),
        ({"methods": ["lead", {"title": "Same", "method": "lead"}]}, "are the same runs"),
        ({"augmentations": ["genmax"]}, "'genmax' is not one of"),
        ({"augmentations": [{"name": "genmix", "options": {"genmix": {"p": 1}}}]}, "genmix.p"),
        ({"seeds": [1, 1]}, "sweep.seeds"),
        ({"seeds": [-1]}, "sweep.seeds"),
        ({"name": "../x"}, "sweep.name"),
    ],
)
def test_mistakes_are_named(sweep, words):
    with pytest.raises(ValueError, match=words):
        plan(experiment(**sweep), SPEC)


def test_as_many_classes_as_dimensions_are_found_before_anything_is_trained():
    narrow = replace(experiment(), model=ModelConfig(bottleneck_dim=15))
    with pytest.raises(ValueError, match="15 for 15; say --model.bottleneck_dim 16, or another"):
        plan(narrow, SPEC)
    plan(replace(narrow, sweep=SweepConfig(methods=["source_only", "glc"])), SPEC)
    plan(replace(narrow, data=DataConfig()), SPEC)  # in one domain nothing is adapted


def test_a_given_checkpoint_is_refused():
    given = replace(experiment(), adapt=AdaptConfig(checkpoint="x.pt"))
    with pytest.raises(ValueError, match="adapt.checkpoint"):
        plan(given, SPEC)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("emoji_home_opda", 24 + 144),
        ("emoji_home_osda", 8 + 48),
        ("emoji_home_pda", 8 + 48),
        ("emoji_home_baselines", 8 + 40),
        ("emoji_home_augmentations", 12 + 24),
        ("emoji_home_settings", 26 + 52),
        ("emoji_home_lead_apart", 6 + 66),
        ("emoji_home_clusters", 4 + 32),
        ("emoji_home_in_domain", 18),
        ("emoji_home_components", 18),
        ("office_home_opda", 24 + 144),
        ("office_home_osda", 24 + 144),
        ("office_home_pda", 24 + 144),
    ],
)
def test_the_experiments_of_the_repository(name, count, capsys, tmp_path):
    config = CONFIGS / "experiments" / f"{name}.yaml"
    given = ["sweep", str(config), "--dry-run", f"--runs={tmp_path / 'runs'}", "--workers=2"]
    assert main(given) == 0
    (last,) = (line for line in capsys.readouterr().out.splitlines() if "together" in line)
    assert last.split()[-3:] == [str(count), "0", str(count)]
    assert not (tmp_path / "runs").exists()


def test_no_two_experiments_share_a_name():
    """Sweeps of one name in one folder of runs take each other's record."""
    files = (CONFIGS / "experiments").rglob("*.yaml")
    names = [read_yaml(file).get("sweep", {}).get("name", file.stem) for file in files]
    assert len(set(names)) == len(names)


def test_smaller_experiments_share_the_runs_of_the_large_one(tmp_path):
    def folders(name):
        _, options = parse(["sweep", str(CONFIGS / "experiments" / f"{name}.yaml")])
        keys = ("data", "images", "model", "train", "augment", "adapt", "sweep")
        jobs, _ = plan(Experiment(**{key: options[key] for key in keys}), SPEC)
        return {job.run.folder.name for job in jobs}

    large = folders("emoji_home_opda")
    assert len(large & folders("emoji_home_baselines")) == 4 * 2 + 4 * 2 * 2
    assert len(large & folders("emoji_home_augmentations")) == 2 * 2 + 2 * 2 * 2
    assert len(large & folders("emoji_home_lead_apart")) == 6 + 2 * 6
    assert len(large & folders("emoji_home_clusters")) == 4 + 8


# What is left, and what it costs.


def finished(run, seconds, size, start=1000.0):
    run.start()
    times = [start + seconds * (epoch + 1) / 4 for epoch in range(4)]
    times[2:] = [time + 7200 for time in times[2:]]  # killed, and gone on two hours later
    lines = [f'{{"kind": "{run.config["stage"]}", "epoch": {i}, "time": {time}}}\n'
             for i, time in enumerate(times)]  # fmt: skip
    (run.folder / "metrics.jsonl").write_text("".join(lines))
    (run.folder / "checkpoint.pt").write_bytes(bytes(size))
    run.mark_done()


def test_time_and_disk_left_go_by_finished_runs(tmp_path):
    given = experiment(tmp_path, pairs=["Tw2Fl", "No2Fl"], seeds=[0])
    jobs, _ = plan(given, SPEC)
    text = describe(given, SPEC, jobs, workers=2)
    assert text.count("unknown yet   unknown yet") == 6
    finished(jobs[0].run, seconds=600, size=10**7)
    assert seconds_of(jobs[0].run) == pytest.approx(600)
    assert 10**7 < jobs[0].run.size_bytes < 10**7 + 3000
    rows = {line.split("  ")[0]: line for line in describe(given, SPEC, jobs, 2).splitlines()}
    assert rows["train"].split()[1:] == ["2", "1", "1", "10", "min", "10", "MB"]
    assert rows["train + GenMix"].split()[-4:] == ["20", "min", "20", "MB"]  # as without
    assert "unknown yet" in rows["LEAD"]
    together = rows["together, 2 at a time"].split()
    assert together[5:] == ["12", "1", "11", "at", "least", "15", "min", "at", "least", "30", "MB"]


def test_unpacked_runs_say_nothing_of_time_and_disk(tmp_path):
    given = experiment(tmp_path, pairs=["Tw2Fl", "No2Fl"], seeds=[0])
    jobs, _ = plan(given, SPEC)
    finished(jobs[0].run, seconds=600, size=10**7)
    (jobs[0].run.folder / "checkpoint.pt").unlink()
    text = describe(given, SPEC, jobs, workers=1)
    assert text.count("unknown yet   unknown yet") == 6
    assert "min" not in text


def test_amounts_in_words():
    assert [in_words(s) for s in (0.4, 99, 150, 5999, 12000, 400000)] == [
        "0 s", "99 s", "2 min", "1 h 40 min", "3 h 20 min", "4 d 15 h",
    ]  # fmt: skip
    assert [size_in_words(n) for n in (12, 5e5, 3.14e6, 6.1e10)] == [
        "12 B", "500 kB", "3.1 MB", "61 GB",
    ]  # fmt: skip


# Which run is next.


@pytest.fixture
def jobs(tmp_path):
    """Two sources that need the same edits, and what starts from the first."""

    def job(name, stage, needs=None, prepares=""):
        run = open_run(tmp_path, name, {"stage": stage, "name": name})
        return Job(name, stage, stage, Experiment(), run, needs and needs.run.folder, prepares)

    first = job("a", "train", prepares="edits")
    return first, job("b", "train", prepares="edits"), job("c", "adapt", needs=first)


def begun(job):
    job.run.log(kind="train", epoch=1)


def test_one_prepares_and_the_others_follow(jobs):
    schedule = Schedule(jobs, started=0)
    assert schedule.next_job() is jobs[0]
    schedule.running.append(jobs[0])
    assert schedule.next_job() is None
    begun(jobs[0])
    assert schedule.next_job() is jobs[1]
    assert schedule.next_job() is None
    jobs[0].run.mark_done()
    assert schedule.next_job() is jobs[2]
    assert not schedule.waiting


def test_what_others_hold_is_passed_over(jobs, capsys):
    schedule = Schedule(jobs, started=0)
    with locks.hold(jobs[0].run.folder):
        assert schedule.next_job() is None  # b waits for the edits that the other one makes
        assert schedule.next_job() is None
        assert capsys.readouterr().out.count("3 runs are left to other workers") == 1
        begun(jobs[0])
        assert schedule.next_job() is jobs[1]
        jobs[0].run.mark_done()
    assert schedule.next_job() is jobs[2]
    assert "[1/3] a: done by another worker" in capsys.readouterr().out


def test_a_run_that_another_process_took_meanwhile_is_looked_at_again(jobs):
    schedule = Schedule(jobs[:1], started=0)
    job = schedule.next_job()
    assert job is jobs[0]
    schedule.ended(job, Outcome(busy=True))
    assert schedule.next_job() is job
    assert not schedule.failures


def test_what_needs_a_failed_run_waits_for_it(jobs, tmp_path, capsys):
    schedule = Schedule(jobs, started=0)
    first = schedule.next_job()
    assert first is jobs[0]
    first.run.start()
    schedule.ended(first, Outcome(error="no disk\nTraceback"))
    assert (first.run.folder / "error.txt").read_text() == "no disk\nTraceback\n"
    assert schedule.next_job() is jobs[1]
    assert schedule.next_job() is None
    assert not schedule.waiting
    assert schedule.failures == ["a: no disk", f"c: waits for {first.run.folder.name}"]
    assert "[1/3] a: no disk" in capsys.readouterr().out
    again = Schedule(jobs, started=locks.now(tmp_path) + 1)  # another command, later
    assert again.next_job() is first
    again.ended(first, Outcome(seconds=3))
    assert not (first.run.folder / "error.txt").exists()


def test_what_failed_elsewhere_is_tried_here_once_and_last(jobs):
    """The other machine may be the one at fault."""
    first, second, adaptation = jobs
    first.run.start()
    (first.run.folder / "error.txt").write_text("no GPU\n")
    schedule = Schedule(jobs, started=0)
    assert schedule.next_job() is second
    begun(second)
    assert schedule.next_job() is first
    first.run.mark_done()
    schedule.ended(first, Outcome(seconds=3))
    assert schedule.next_job() is adaptation
    adaptation.run.start()
    (adaptation.run.folder / "error.txt").write_text("no GPU\n")  # of the other machine, again
    schedule.ended(adaptation, Outcome(error="no disk"))
    assert schedule.next_job() is None
    assert not schedule.waiting
    assert schedule.failures == ["c: no disk"]


def test_a_shared_sweep_goes_on_without_what_failed_elsewhere(jobs):
    """What needs it is not given up, but waits for it to be tried here."""
    first, second, adaptation = jobs
    schedule = Schedule(jobs, started=0)
    with locks.hold(first.run.folder):
        begun(first)
        assert schedule.next_job() is second
        assert schedule.next_job() is None
    (first.run.folder / "error.txt").write_text("no GPU\n")
    assert schedule.next_job() is first
    schedule.running.append(first)
    assert schedule.next_job() is None
    assert schedule.waiting == [adaptation]
    assert not schedule.failures


# Whole sweeps, in processes.


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    """The same runs by single commands."""
    runs = tmp_path_factory.mktemp("single") / "runs"
    for augment in ("none", "genmix"):
        flags = arguments(dataset, runs, f"--augment.name={augment}", "--data.target=Dark")
        assert main(["train", *flags]) == 0
        for method in ("source_only", "lead"):
            assert main(["adapt", *flags, f"--adapt.method={method}"]) == 0
    return outcomes(runs)


def outcomes(runs):
    """Of each run: its lines and weights."""
    found = {}
    for run in find_runs(runs):
        assert run.is_done
        clocks = ("time", "seconds")
        lines = [{k: v for k, v in line.items() if k not in clocks} for line in run.metrics()]
        weights = read_checkpoint(run.folder / "checkpoint.pt")["model"]
        found[run.folder.name] = (lines, weights)
        assert not list(run.folder.glob("*lock*"))
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, (lines, weights) in expected.items():
        assert sorted(found[name][0], key=str) == sorted(lines, key=str)
        assert all(torch.equal(found[name][1][key], value) for key, value in weights.items())


def heed_interrupts():
    """In a child: SIGINT interrupts, even where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_sweep(dataset, runs, *more):
    flags = arguments(dataset, runs, "--sweep.pairs=[Pl2Da]", *more)
    return subprocess.Popen(
        [sys.executable, "-m", "uda.cli", "sweep", *flags],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=heed_interrupts,
    )  # fmt: skip


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def gone(pid):
    """Whether the process is there no more, or a zombie."""
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True


def workers_at_work(runs):
    """Processes that hold locks."""
    found = set()
    for path in runs.glob("*/lock"):
        try:
            found.add(yaml.safe_load(path.read_text())["pid"])
        except (FileNotFoundError, TypeError):  # released, or not written yet
            continue
    return found


@pytest.mark.slow
def test_killed_and_resumed_is_as_undisturbed(dataset, undisturbed, tmp_path):
    runs = tmp_path / "runs"
    process = start_sweep(dataset, runs, "--workers=2")
    try:
        until(lambda: list(runs.glob("*/done")))
        at_work = until(lambda: workers_at_work(runs))
    finally:
        process.kill()
    process.wait()
    until(lambda: all(gone(pid) for pid in at_work))  # the workers end with it
    assert len(list(runs.glob("*/done"))) < 6
    again = start_sweep(dataset, runs, "--workers=2")
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0, out
    assert "All 6 runs are done" in out
    assert_same(outcomes(runs), undisturbed)
    written = read_plan(runs)
    assert written is not None
    assert [one.row_title for one in written.expected] == [
        "Source-only", "Source + GenMix", "LEAD", "LEAD + GenMix"
    ]  # fmt: skip
    assert all(one.done for one in written.expected)


@pytest.mark.slow
def test_two_commands_share_a_folder(dataset, undisturbed, tmp_path):
    runs = tmp_path / "runs"
    both = [start_sweep(dataset, runs, "--workers=1") for _ in range(2)]
    texts = [process.communicate(timeout=150)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert_same(outcomes(runs), undisturbed)
    for run in find_runs(runs):  # nothing was done twice
        lines = (run.folder / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == len(run.metrics())


@pytest.mark.slow
def test_failing_runs_and_dying_workers_do_not_stop_it(tmp_path):
    dataset, runs = make_dataset(tmp_path / "tiny"), tmp_path / "runs"
    picture = dataset.parent / "pictures" / "Dark" / "bar" / "00.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:60])
    flags = ("--sweep.pairs=[Pl2Da,Da2Pl]", "--sweep.augmentations=[none]")
    out, _ = (process := start_sweep(dataset, runs, *flags)).communicate(timeout=120)
    assert process.returncode == 1
    assert out.count("00.png") >= 3  # Da, and the adaptations to it: as they end
    assert "LEAD Da2Pl s0: waits for train-Da-opda-none-s0" in out
    assert out.splitlines()[-1].startswith("uda: error: 5 of 6 runs are missing")
    assert len(list(runs.glob("*/error.txt"))) == 3
    picture.write_bytes(whole)

    process = start_sweep(dataset, runs, *flags)
    (victim,) = until(lambda: workers_at_work(runs))
    os.kill(victim, signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "killed by SIGKILL (out of memory?)" in out
    assert len(list(runs.glob("*/done"))) > 1, "another worker took its place"

    out, _ = (process := start_sweep(dataset, runs, *flags)).communicate(timeout=120)
    assert process.returncode == 0, out
    assert not list(runs.glob("*/error.txt"))


@pytest.mark.slow
def test_interrupted_it_leaves_nobody_at_work(dataset, tmp_path):
    runs = tmp_path / "runs"
    process = start_sweep(dataset, runs, "--workers=2", "--train.steps=3000")
    at_work = until(lambda: len(found := workers_at_work(runs)) == 2 and found)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.splitlines()[-1].startswith("Stopped.")
    assert "Traceback" not in out
    assert all(gone(pid) for pid in at_work)
    assert not list(runs.glob("*/lock"))
