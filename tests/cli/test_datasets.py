"""`uda data`: splits and lists."""

from __future__ import annotations

from uda.cli.main import main


def test_splits_of_a_dataset_without_scenarios(capsys):
    assert main(["data", "splits", "cifar-100"]) == 0
    output = capsys.readouterr().out
    assert output == "CIFAR-100 has no scenarios: it is for training in one domain\n"


def test_export_lists(capsys, dataset, tmp_path):
    command = ["data", "export-lists", str(dataset)]
    pictures = dataset.parent / "pictures"
    (pictures / "Dark").rename(tmp_path / "Dark")
    assert main([*command, "--scenario=osda"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"passed over Dark: {pictures / 'Dark'} is not there",
        f"wrote {pictures / 'Plain' / 'image_unida_list.txt'}: 45 images of 5 classes",
    ]
    assert main([*command, "--root", str(tmp_path)]) == 0
    lines = (tmp_path / "Dark" / "image_unida_list.txt").read_text().splitlines()
    assert lines[0] == "bar/00.png 0"
    assert lines[-1] == "square/08.png 4"
    capsys.readouterr()


def test_export_lists_names_what_is_wrong(does_not_parse, fails_with, dataset, tmp_path):
    command = ["data", "export-lists", str(dataset)]
    fails_with([*command, "--root", str(tmp_path / "no")], "no domain of Tiny to list")
    fails_with([*command, "--scenario=xda"], "no 'xda'; it has opda, osda, pda")
    fails_with([*command[:2], "nothing"], "known datasets: cifar_100")
    does_not_parse([*command, "--rot=x"], "--rot")
    folder = dataset.parent / "pictures" / "Plain" / "bar"
    (folder / "00.png").rename(folder / "0 0.png")
    fails_with(command, str(folder / "0 0.png"), "(1 such", "--replace-spaces")
