"""Training with augmentation, and source-free universal domain adaptation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from uda.inference.model import TrainedModel


def load(checkpoint: Path | str, device: str = "auto", threshold: str = "") -> TrainedModel:
    """Load a finished run's model, to ask it: ``uda.load("runs/lead-…")("photo.jpg").label``.

    Args:
        checkpoint: A run's folder, or a .pt in it.
        device: auto, cpu, cuda or cuda:N.
        threshold: In place of the method's: mixture, two-means or a number.

    Returns:
        The model, see `uda.inference.model.TrainedModel`.
    """
    from uda.inference.model import load as load_model  # torch takes seconds to import

    return load_model(Path(checkpoint), device, threshold)


def results(runs: Path | str, sweep: str = "") -> DataFrame:
    """Return finished runs as a pandas DataFrame, a row for each run and epoch that was scored.

    What `uda report` makes tables of, for statistics and figures of one's own:
    ``table = uda.results("runs"); table[table.is_result].groupby("title").h_score.mean()``.

    Args:
        runs: A folder of runs, or a file of `uda pack` (.jsonl).
        sweep: Only the runs of the sweep of this name.

    Returns:
        Rows in the order of the report's tables. Runs that have not finished are left out, and so
        are source models, which have no scores (method ``source_only`` scores them). Its columns:

        - ``run`` (the folder's name), ``hash`` (of the configuration), ``dataset``, ``scenario``
          (opda, osda or pda), ``source``, ``target``, ``pair`` (Tw2Fl), ``method``,
          ``augmentation``, ``answer`` (how it answers in words, empty if as its method does),
          ``table`` and ``title`` (the report's table, and the row in it), ``seed``. Of training in
          one domain scenario, target, pair, method and answer are empty.
        - ``epoch``: of adaptation, 0 before any; a run that only answers anew has 0 alone.
          ``is_result``: whether the report shows this epoch. It is the last, or in one domain the
          one that validation chose, and never the best by target labels.
        - Scores in percent, NaN where undefined. Under OPDA and OSDA ``h_score``, ``known_acc``,
          ``unknown_acc``, of the unknown score ``auroc`` and ``oscr``, and ``h3_score`` with its
          ``private_nmi``; under PDA ``accuracy``; in one domain ``top1``, ``top5``, ``ece`` (the
          calibration error), ``validation_top1``, and of the end ``fgsm_error.…`` (an error),
          ``corruptions.…`` and ``corruption_acc``. ``threshold``, where it was found on the source,
          is no percentage. ``num_images`` were scored; in one domain ``training_seconds`` and
          ``edit_seconds`` were taken.
        - The settings, as in the run's configuration: ``train.steps``, ``model.backbone``,
          ``augment.options.prompts``, ``adapt.rate``, ``answer.views``, …; NaN where a run has
          none of the name.

    Raises:
        ValueError: There is no such folder or file, it holds no runs, or none has finished.
    """
    from uda.reports.frame import results_frame  # pandas takes a second to import

    return results_frame(Path(runs).expanduser(), sweep)
