"""Sweeps of self-supervised pretraining."""

from dataclasses import replace

import pytest
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main, parse
from uda.config import CONFIGS, DataConfig, Experiment, PretrainConfig, SweepConfig
from uda.data.spec import load_dataset_spec
from uda.runs.folder import find_runs
from uda.stages.identity import pretrain_run, source_run
from uda.stages.source import make_edits
from uda.sweeps.engine import STAGES
from uda.sweeps.plan import plan

SPEC = load_dataset_spec("emoji_home")
FILE = CONFIGS / "experiments" / "emoji_home_ssl.yaml"


def experiment_of(*more):
    """Return the experiment of the file, with flags over it."""
    _, options = parse(["sweep", str(FILE), *more])
    return Experiment(**{key: options[key] for key in vars(Experiment())})


def test_the_experiments_file_plans_twelve_runs():
    jobs, expected = plan(experiment_of(), SPEC)
    assert [job.title for job in jobs[:5]] == [
        "MoCo v2 Tw s0",
        "MoCo v2 + GenMix Tw s0",
        "SimSiam Tw s0",
        "SimSiam + GenMix Tw s0",
        "MoCo v2 Tw s1",
    ]
    assert len(jobs) == len({job.run.folder for job in jobs}) == 12
    assert expected == []
    assert {job.experiment.train.steps for job in jobs} == {700}


def test_the_runs_are_those_of_the_single_command():
    experiment = experiment_of()
    data = replace(experiment.data, source="Twemoji")
    single = replace(experiment, data=data, pretrain=PretrainConfig("simsiam"), seed=2)
    assert pretrain_run(single, SPEC) in [job.run for job in plan(experiment, SPEC)[0]]


def test_entries_may_be_mappings():
    pairs = "[{method: moco_v2, title: Pairs, pairing: pair, options: {moco_v2: {queue: 64}}}]"
    jobs, _ = plan(experiment_of(f"--sweep.pretrainings={pairs}", "--sweep.seeds=[0]"), SPEC)
    assert [job.kind for job in jobs] == ["Pairs", "Pairs + GenMix"]
    assert jobs[1].run.pretrain["pairing"] == "pair"
    assert jobs[1].run.pretrain["options"]["queue"] == 64


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"pretrainings": ["moco_v2", "moco_v2"]}, "are the same runs"),
        ({"pretrainings": ["byol"]}, "pretrain.method: 'byol' is not one of"),
        ({"pretrainings": ["moco_v2"], "pairs": ["Tw2Fl"]}, "no domain 'Tw2Fl'"),
    ],
)
def test_what_cannot_be_planned_is_named(sweep, words):
    with pytest.raises(ValueError, match=words):
        plan(Experiment(sweep=SweepConfig(**sweep)), SPEC)


def test_wrong_entries_are_named():
    with pytest.raises(ValueError, match="sweep.pretrainings: unknown key 'rate'"):
        SweepConfig(pretrainings=[{"method": "moco_v2", "rate": 1}])
    scenario = Experiment(
        data=DataConfig(scenario="opda"), sweep=SweepConfig(pretrainings=["moco_v2"])
    )
    with pytest.raises(ValueError, match="sweep.pretrainings: in one domain"):
        plan(scenario, SPEC)


def test_edits_that_several_jobs_need_are_logged_in_a_run_of_pretraining(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", per_class=4)
    more = ["--data.scenario=", "--augment.name=genmix"]
    _, options = parse(["pretrain", *arguments(dataset, tmp_path / "runs", *more)])
    experiment = Experiment(**{key: options[key] for key in vars(Experiment())})
    STAGES["pretrain edits"](experiment)
    names = [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert [name.partition("-")[0] for name in names] == ["pretrain"]
    assert STAGES["train edits"] is make_edits


def test_a_tiny_sweep_is_made_and_found_again(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny", per_class=6)
    small = ["--pretrain.options.simsiam.dim=16", "--sweep.pretrainings=[moco_v2, simsiam]"]
    more = ["--data.scenario=", "--sweep.pairs=[Plain]", "--sweep.augmentations=[none]", *small]
    flags = arguments(dataset, tmp_path / "runs", "--train.steps=2", *more)
    assert main(["sweep", *flags]) == 0
    printed = capsys.readouterr().out
    assert f"All 2 runs are done. Tables: uda probe {tmp_path / 'runs'}/pretrain-*" in printed
    assert sorted(run.pretrain["method"] for run in find_runs(tmp_path / "runs")) == [
        "moco_v2",
        "simsiam",
    ]
    before = [run.done_text for run in find_runs(tmp_path / "runs")]
    assert main(["sweep", *flags]) == 0
    assert [run.done_text for run in find_runs(tmp_path / "runs")] == before
    # An ordinary sweep in the same folder has its own record and table.
    assert main(["sweep", *flags, "--sweep.pretrainings=[]", "--train.robustness=false"]) == 0
    assert main(["report", str(tmp_path / "runs")]) == 0


def test_pretraining_changes_no_other_runs_name():
    experiment = Experiment(data=DataConfig(source="Twemoji"))
    other = replace(experiment, pretrain=PretrainConfig("simsiam", "pair"))
    assert source_run(other, SPEC) == source_run(experiment, SPEC)
    assert "pretrain" not in source_run(other, SPEC).config
