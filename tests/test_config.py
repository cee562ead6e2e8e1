import pytest
import yaml
from jsonargparse import get_loader

from uda.config import (
    CONFIGS,
    AdaptConfig,
    ComputeConfig,
    DataConfig,
    Experiment,
    ImageConfig,
    TrainConfig,
    load_yaml,
    read_yaml,
)
from uda.data.spec import load_dataset_spec
from uda.stages.options import method_of


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "a", "target": "a", "scenario": "opda"}, "data.target: 'a' is the source too"),
        ({"source": "a", "target": "b"}, "data.scenario: say opda"),
        ({"scenario": "uda"}, "data.scenario: 'uda' is not one of opda, osda, pda"),
        ({"holdout": 1.0}, "data.holdout"),
        ({"concepts": "some"}, "data.concepts"),
    ],
)
def test_wrong_data_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**values)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="crop_px 65"):
        ImageConfig(resize_px=64, crop_px=65)
    with pytest.raises(ValueError, match=r"train\.batch_size"):
        TrainConfig(batch_size=1)


@pytest.mark.parametrize(
    ("make", "values", "message"),
    [
        (TrainConfig, {"steps": 9, "budget": "epochs"}, "train.budget: epochs, but train.steps"),
        (TrainConfig, {"label_smoothing": 1.0}, "train.label_smoothing: 1.0 is not a share"),
        (TrainConfig, {"label_smoothing": -0.1}, "train.label_smoothing: -0.1"),
        (TrainConfig, {"backbone_factor": -1.0}, "train.backbone_factor: -1.0 must not be neg"),
        (TrainConfig, {"weight_decay": -1e-3}, "train.weight_decay: -0.001 must not be negative"),
        (AdaptConfig, {"backbone_factor": -1.0}, "adapt.backbone_factor: -1.0 must not be neg"),
        (AdaptConfig, {"weight_decay": float("nan")}, "adapt.weight_decay: nan must not be"),
    ],
)
def test_wrong_settings_of_the_stages_are_named(make, values, message):
    with pytest.raises(ValueError, match=message):
        make(**values)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("lead.ce_weight", -1.0, "must not be negative"),
        ("lead.reg_weight", -1.0, "must not be negative"),
        ("lead.con_weight", float("nan"), "must not be negative"),
        ("lead.entropy_threshold", 1.5, "is not between 0 and 1"),
        ("glc.ce_weight", -0.5, "must not be negative"),
        ("glc.entropy_threshold", -0.5, "is not between 0 and 1"),
        ("shot_o.ce_weight", -0.5, "must not be negative"),
        ("source_only.entropy_threshold", 55.0, "is not between 0 and 1"),
        ("adabn.entropy_threshold", 55.0, "is not between 0 and 1"),
    ],
)
def test_wrong_options_of_methods_are_named(option, value, message):
    method, key = option.split(".")
    settings = AdaptConfig(method=method, options={method: {key: value}})
    experiment = Experiment(data=DataConfig(scenario="opda"), adapt=settings)
    with pytest.raises(ValueError, match=f"adapt.options.{option}: {value} {message}"):
        method_of(experiment)


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "datasets").glob("*.yaml")), ids=lambda p: p.stem
)
def test_dataset_files_name_all_classes_and_scenarios(path):
    spec = load_dataset_spec(path.stem)
    ordered = spec.classes if path.stem != "office_31" else spec.classes[10:]
    assert list(ordered) == sorted(ordered)
    assert spec.domains.keys() == spec.abbreviations.keys()
    if spec.reader:
        assert not spec.classes
        assert len(spec.domains) == 1
        return
    first, second = list(spec.domains)[:2]
    assert (
        spec.pair_name(first, second) == f"{spec.abbreviations[first]}2{spec.abbreviations[second]}"
    )


def test_an_unknown_dataset_lists_the_known_ones():
    with pytest.raises(ValueError, match="known datasets: cifar_100, .*emoji_home, .*office_31"):
        load_dataset_spec("office")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": None}, "the key 'classes' is missing"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"classes": ["a", "a"]}, "a name stands twice"),
        ({"scenarios": {"opda": {"shared": [0, 9]}}}, r"scenarios.opda.shared: \[0, 9\]"),
        ({"scenarios": {"opda": {"common": [0, 1]}}}, "scenarios.opda.common"),
        ({"scenarios": {"opda": {"shared": 5}}}, "scenarios.opda.shared: expected two whole"),
        ({"scenarios": {"opda": None}}, "scenarios.opda: expected a mapping"),
        ({"domains": ["A"]}, "domains: expected a mapping"),
        ({"abbreviations": {"A": False}}, "abbreviations: False is not text; put it in quotes"),
        ({"abbreviations": {"B": "B"}}, "abbreviations: 'A' has none"),
        ({"domains": {"A": []}}, "domains.A: expected a folder, or a list"),
        ({"domains": {"A": ["a", False]}}, "domains: False is not text"),
        ({"images": {"B": 3}}, "images: 'B' is not one of the domains"),
        ({"images": {"A": 0}}, "images.A: expected a whole number"),
        ({"images": {"A": ["3"]}}, "images.A: expected a whole number"),
        ({"optional": ["B"]}, "optional: 'B' is not one of the domains"),
    ],
)
def test_wrong_dataset_files_are_named(tmp_path, change, message):
    values = {
        "title": "T",
        "root": "r",
        "domains": {"A": "a"},
        "abbreviations": {"A": "A"},
        "classes": ["a", "b"],
        "scenarios": {"opda": {"shared": [0, 1]}},
    }
    values = {key: value for key, value in {**values, **change}.items() if value is not None}
    path = tmp_path / "d.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=message):
        load_dataset_spec(str(path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "half"}, "compute.precision: 'half' is not one of float32, bfloat16"),
        ({"image_memory_gb": -1.0}, "compute.image_memory_gb: -1.0 must not be negative"),
    ],
)
def test_wrong_compute_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        ComputeConfig(**values)


def aliases(first, form):
    """Return YAML of which each line stands for twice the line before."""
    lines = [form.replace("BEFORE", f"*a{k - 1}, *a{k - 1}") for k in range(1, 40)]
    return "\n".join(f"a{k}: &a{k} {line}" for k, line in enumerate([first, *lines]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (aliases("[x]", "[BEFORE]"), "aliases"),
        (aliases("{k: 1}", "{<<: [BEFORE]}"), "aliases"),
        ("a: &a [*a]", "aliases"),
        ("a: " + "[" * 9999, "nest"),
        ("a: !!python/object/apply:os.mkdir [x]", "python/object"),
        ("a: " + "9" * 9999, "digits"),
        ("a: !!timestamp x", ""),
    ],
    ids=["laughs", "merges", "endless", "deep", "code", "number", "tag"],
)
@pytest.mark.parametrize("load", [load_yaml, get_loader("yaml")], ids=["files", "options"])
def test_yaml_of_strangers_is_a_line_that_names_the_file(tmp_path, text, words, load):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"x\.yaml: not valid YAML: .*{words}"):
        read_yaml(tmp_path / "x.yaml", load)


def test_a_few_aliases_are_read(tmp_path):
    (tmp_path / "x.yaml").write_text("\ufeffa: &a [1, 2]\nb: *a\n")
    assert read_yaml(tmp_path / "x.yaml") == {"a": [1, 2], "b": [1, 2]}


def test_names_with_bytes_of_no_encoding_are_read_as_written():
    values = {"classes": ["caf\udce9", "é"]}
    assert load_yaml(yaml.safe_dump(values)) == values
    assert load_yaml(yaml.safe_dump(values, allow_unicode=True)) == values
