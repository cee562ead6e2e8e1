import csv
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.tiny import CLASSES, make_dataset

from uda.config import AdaptConfig, DataConfig, Experiment
from uda.data.spec import load_dataset_spec
from uda.evaluation.choices import chosen_epochs, chosen_thresholds, last_probabilities
from uda.evaluation.metrics import h_score
from uda.methods.base import Bank
from uda.methods.unknown import normalised_entropy
from uda.reports.choices import epoch_choices, threshold_choices
from uda.reports.frame import per_class_csv
from uda.reports.rows import boards
from uda.reports.selection import write_selection
from uda.reports.tables.choices import epoch_table, threshold_table
from uda.reports.tables.setting import setting_tables
from uda.stages.identity import adapt_run
from uda.sweeps import record as sweep_plan
from uda.sweeps.record import Expected, write_plan
from uda.training.bank import save_bank

LABELS = np.array([0, 0, 1, 1, 3, 3, 4, 4])  # of OPDA's 0 1 shared, 2 source-private, 3 4 private


@pytest.fixture
def experiment(tmp_path):
    dataset = make_dataset(tmp_path, per_class=1)
    data = DataConfig(dataset=str(dataset), source="Plain", target="Dark", scenario="opda")
    return Experiment(data=data, runs=str(tmp_path / "runs"), adapt=AdaptConfig(epochs=3))


def answers(labels):
    """Made-up predictions on images of these true labels."""
    labels = np.asarray(labels)
    called = np.arange(len(labels)) % 4
    return {"true_label": labels, "label": called, "unknown_score": np.zeros(len(labels))}


def finish(experiment, labels=LABELS):
    """A run of three epochs: its probabilities sharpen, its H-scores rise and fall. Without a label
    (all -1) it has no scores."""
    num_images = int((labels >= 0).sum())
    run = adapt_run(experiment, load_dataset_spec(experiment.data.dataset))
    run.start()
    generator = torch.Generator().manual_seed(0)
    for epoch, (sharpness, score) in enumerate([(1, 30), (2, 60), (4, 50), (1, 40)]):
        logits = torch.randn(8, 3, generator=generator) * sharpness
        logits[torch.arange(4), torch.from_numpy(LABELS[:4])] += 3 * sharpness
        save_bank(run, Bank(torch.randn(8, 6), logits.softmax(dim=1), torch.randn(3, 6)), epoch)
        score = score if num_images else None
        run.log(kind="evaluate", epoch=epoch, h_score=score, num_images=num_images)
    run.save_predictions(answers(labels))
    run.save_classes(CLASSES[:3])
    run.mark_done()
    return run


def test_epochs_are_chosen_and_scored(experiment):
    choices = epoch_choices(finish(experiment))
    assert choices["last"] == (3, 40)
    assert choices["oracle"] == (1, 60)  # epoch 0 is the source model
    assert choices["entropy"] == (2, 50)  # the sharpest


def test_criteria_of_a_finished_run_are_kept(experiment):
    run = finish(experiment)
    before = epoch_choices(run)
    for bank in (run.folder / "banks").iterdir():
        bank.unlink()
    assert epoch_choices(run) == before
    (run.folder / "criteria.json").write_text('{"entropy": [1, 2]}')  # of an older version
    with pytest.raises(ValueError, match="not kept"):
        epoch_choices(run)


def test_thresholds_of_a_finished_run_are_kept_until_it_is_answered_anew(experiment):
    run = finish(experiment)
    before = threshold_choices(run)
    predictions = run.folder / "predictions.npz"
    run.save_predictions(answers(LABELS[::-1]))
    os.utime(predictions, (2e9, 2e9))
    after = threshold_choices(run)
    assert after["fixed"] != before["fixed"]
    os.utime(predictions, (0, 0))
    for bank in (run.folder / "banks").iterdir():
        bank.unlink()
    assert threshold_choices(run) == after
    predictions.unlink()  # as of an unpacked run
    assert threshold_choices(run) == after
    (run.folder / "thresholds.json").write_text('{"fixed": [1, 2]}')  # of an older version
    ((setting, board),) = boards([run]).items()
    assert threshold_table(setting, board) is None


def test_choices_stand_beside_last_and_oracle(experiment):
    run = finish(experiment)
    ((setting, board),) = boards([run]).items()
    table = epoch_table(setting, board)
    assert table.columns == ("last", "entropy", "information", "snd", "oracle")
    assert [cell.text for cell in table.lines[0].cells][:2] == ["40.0", "50.0"]
    assert "the one run that has" in table.notes[0]
    thresholds = threshold_table(setting, board)
    assert thresholds.columns == ("fixed", "mixture", "two-means", "oracle")
    expected = [f"{score:.1f}" for _, score in threshold_choices(run).values()]
    assert [cell.text for cell in thresholds.lines[0].cells] == expected
    assert {"epochs", "thresholds"} <= setting_tables(
        setting, board
    ).keys()  # of a single pair, too


def test_a_run_without_a_defined_score_is_not_counted(experiment):
    run = finish(experiment)
    run.log(kind="evaluate", epoch=2, h_score=None, num_images=8)
    with pytest.raises(ValueError, match="a score is undefined"):
        epoch_choices(run)
    ((setting, board),) = boards([run]).items()
    assert epoch_table(setting, board) is None


def test_thresholds_are_scored_on_the_last_epoch(experiment):
    run = finish(experiment)
    choices = threshold_choices(run)
    with np.load(run.folder / "banks" / "epoch_03.npz") as bank:
        p = torch.from_numpy(bank["probabilities"]).float()
    entropy, classes = normalised_entropy(p).numpy(), p.argmax(dim=1).numpy()
    for cut, score in choices.values():
        accepted = entropy <= cut
        right = accepted & (classes == LABELS)
        known = 100 * (right[:2].mean() + right[2:4].mean()) / 2
        assert score == pytest.approx(h_score(known, 100 * (~accepted[4:]).mean()))
        assert score <= choices["oracle"][1]
    assert choices["fixed"][0] == 0.55


def test_the_fixed_threshold_is_the_methods_own(experiment):
    run = finish(
        replace(experiment, adapt=AdaptConfig(options={"lead": {"entropy_threshold": 0.4}}))
    )
    assert threshold_choices(run)["fixed"][0] == 0.4


def test_labels_change_no_choice_but_the_oracles(experiment):
    run = finish(experiment)
    before = epoch_choices(run), threshold_choices(run)
    run.save_predictions(answers(LABELS[::-1]))
    after = epoch_choices(run), threshold_choices(run)
    for old, new in zip(before, after, strict=True):
        for name in old.keys() - {"oracle"}:
            assert old[name][0] == new[name][0], name


def test_the_report(experiment, tmp_path):
    finish(experiment)
    printed = write_selection(tmp_path / "runs")
    assert "OPDA: choosing the epoch" in printed
    assert "|" not in printed
    text = (tmp_path / "runs" / "selection.md").read_text()
    assert text.startswith("## Tiny, OPDA: choosing the epoch")
    assert "| LEAD | 1 | 40.0 | 50.0 |" in text
    assert "| short of the oracle, all | 1 | −20.0 | −10.0 |" in text
    with open(tmp_path / "runs" / "selection.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["choice"] for row in rows} == {"epoch", "threshold"}


def test_rows_are_those_of_the_report(experiment, tmp_path):
    finish(experiment)
    finish(replace(experiment, adapt=AdaptConfig(epochs=3, rate=0.5)))
    finish(replace(experiment, data=replace(experiment.data, concepts="disjoint")))
    printed = write_selection(tmp_path / "runs")
    assert "rate=0.5)" in printed
    assert "no picture's concept in both: choosing the epoch" in printed
    with open(tmp_path / "runs" / "selection.csv") as file:
        rows = list(csv.DictReader(file))
    assert len({row["run"] for row in rows}) == 3
    assert {row["concepts"] for row in rows} == {"shared", "disjoint"}


def test_rows_are_called_what_their_sweep_calls_them(experiment, tmp_path, monkeypatch):
    folder = finish(experiment).folder
    planned = Expected(
        "Plain", "Dark", "Pl2Da", "opda", "", "", "mine", 0, folder, "tiny", "shared"
    )
    monkeypatch.setattr(sweep_plan, "read_plan", lambda *_: SimpleNamespace(expected=[planned]))
    write_selection(tmp_path / "runs")
    assert "| mine | 1 |" in (tmp_path / "runs" / "selection.md").read_text()


def test_a_single_sweep_is_written_by_itself(experiment, tmp_path):
    runs = tmp_path / "runs"
    folder = finish(experiment).folder
    finish(replace(experiment, adapt=AdaptConfig(epochs=3, rate=0.5)))
    planned = Expected(
        "Plain", "Dark", "PlDa", "opda", "LEAD", "", "LEAD", 0, folder, "tiny", "shared"
    )
    write_plan(runs, "mine", {}, [planned])
    printed = write_selection(runs, "mine")
    assert f"Written to {runs / 'sweeps' / 'mine' / 'selection.md'}" in printed
    with open(runs / "sweeps" / "mine" / "selection.csv") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {folder.name}
    assert not (runs / "selection.csv").exists()


def test_without_labels_the_choices_stand_without_scores(experiment, tmp_path):
    scored = finish(experiment)
    turned = replace(experiment.data, source="Dark", target="Plain")
    unscored = finish(replace(experiment, data=turned), np.full(8, -1))
    write_selection(tmp_path / "runs")
    text = (tmp_path / "runs" / "selection.md").read_text()
    probabilities = last_probabilities(unscored)
    entropy = normalised_entropy(probabilities)
    epochs, cuts = chosen_epochs(unscored), chosen_thresholds(unscored, probabilities)
    printed = " | ".join(str(epochs[name]) for name in ("last", "entropy", "information", "snd"))
    assert f"| LEAD, Da2Pl, seed 0 | {printed} |" in text
    above = [round(100 * float((entropy > cut).double().mean())) for cut in cuts.values()]
    both = zip(cuts.values(), above, strict=True)
    printed = " | ".join(f"{cut:.2f} ({share} %)" for cut, share in both)
    assert f"| LEAD, Da2Pl, seed 0 | {printed} |" in text
    with open(tmp_path / "runs" / "selection.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["run"] == unscored.folder.name]
    assert len(rows) == 7
    assert {row["score"] for row in rows} == {""}

    ((setting, board),) = boards([unscored]).items()
    tables = setting_tables(setting, board)
    assert tables["epochs"].title.endswith("epochs chosen without labels")
    assert [cell.text for cell in tables["unscored"].lines[0].cells] == ["8", "2"]
    assert setting.main_score not in tables
    assert tables["thresholds"].columns == ("fixed", "mixture", "two-means")
    ((setting, board),) = boards([scored, unscored]).items()
    assert {"epochs", "epochs without labels"} <= setting_tables(setting, board).keys()
    assert per_class_csv({"": board["LEAD"]}) == ""


def test_pictures_that_nobody_knows_are_not_scored(experiment):
    run = finish(experiment)
    before = threshold_choices(run)
    labels = np.where(np.arange(8) < 7, LABELS, -1)
    run.save_predictions(answers(labels))
    after = threshold_choices(run)
    for name in before.keys() - {"oracle"}:
        assert before[name][0] == after[name][0]
    assert all(0 <= score <= 100 for _, score in after.values())


def test_a_run_of_no_epochs_is_passed_over(experiment, tmp_path):
    finish(experiment)
    run = adapt_run(
        replace(experiment, adapt=AdaptConfig(epochs=0)), load_dataset_spec(experiment.data.dataset)
    )
    run.log(kind="evaluate", epoch=0, h_score=1.0, num_images=8)
    run.mark_done()
    assert "no epoch to choose from" in write_selection(tmp_path / "runs")


def test_runs_without_banks_are_named(experiment, tmp_path):
    run = finish(experiment)
    (run.folder / "banks" / "epoch_02.npz").unlink()
    with pytest.raises(ValueError, match="has kept its banks: lead-Pl2Da-.*epoch_02.npz: not kept"):
        write_selection(tmp_path / "runs")
