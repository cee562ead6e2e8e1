"""The editor `folder`: edits that lie in a folder."""

import pickle

import pytest
import torch
from helpers.shapes import drawing, photograph

from genmix_aug.editors import FilterEditor, FolderEditor
from genmix_aug.images import from_picture, to_picture


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    to_picture(image).save(path)


@pytest.fixture
def folders(tmp_path):
    """Return folders of two originals and of edits of the first of them."""
    save(drawing(0), tmp_path / "originals" / "cat" / "one.png")
    save(drawing(1), tmp_path / "originals" / "cat" / "two.png")
    for number in range(2, 5):
        save(drawing(number), tmp_path / "edits" / "cat" / "one" / f"{number}.png")
    return {"originals": str(tmp_path / "originals"), "edits": str(tmp_path / "edits")}


def test_seeds_draw_every_edit_of_an_image(folders):
    editor = FolderEditor(**folders)
    image = drawing(0)[None]
    edits = [editor.edit(image, ["any"], [seed])[0] for seed in range(30)]
    for number in range(2, 5):
        assert any(torch.equal(edit, drawing(number)) for edit in edits)
    assert torch.equal(editor.edit(image, ["any"], [7])[0], edits[7])
    again = pickle.loads(pickle.dumps(editor))
    assert torch.equal(again.edit(image, ["any"], [7])[0], edits[7])


def test_an_edit_of_another_size_is_scaled(folders, tmp_path):
    for path in (tmp_path / "edits" / "cat" / "one").iterdir():
        path.unlink()
    save(photograph(1, 40, 50), tmp_path / "edits" / "cat" / "one" / "only.jpg")
    edit = FolderEditor(**folders).edit(drawing(0)[None], ["any"], [0])
    assert edit.shape == (1, 3, 96, 96)


def test_squares_are_known_as_squares(folders, tmp_path):
    save(drawing(5, 60, 90), tmp_path / "originals" / "dog.png")
    save(drawing(6), tmp_path / "edits" / "dog" / "edit.png")
    square = to_picture(drawing(5, 60, 90)).resize((48, 48), 2)
    images = from_picture(square)[None]
    edit = FolderEditor(**folders, square_px=48).edit(images, ["any"], [0])
    assert edit.shape == (1, 3, 48, 48)
    with pytest.raises(ValueError, match=r"48 x 48 px has no edit .* square_px .* instead=filters"):
        FolderEditor(**folders).edit(images, ["any"], [0])


def test_filters_make_the_edits_that_are_missing(folders):
    editor = FolderEditor(**folders, instead="filters")
    images = torch.stack([drawing(0), drawing(1)])
    edits = editor.edit(images, ["snowy"] * 2, [0, 1])
    assert torch.equal(edits[1], FilterEditor().edit(images[1:], ["snowy"], [1])[0])
    assert any(torch.equal(edits[0], drawing(number)) for number in range(2, 5))
    assert editor.prompts == FilterEditor().prompts
    assert FolderEditor(**folders).prompts == ()


def test_the_fingerprint_is_what_the_edits_hold(folders, tmp_path):
    plain = FolderEditor(**folders).fingerprint
    below = tmp_path / "edits" / "cat" / "one"
    (below / "2.png").rename(below / "renamed.png")
    assert FolderEditor(**folders).fingerprint == plain
    filters = FolderEditor(**folders, instead="filters").fingerprint
    save(drawing(9), below / "more.png")
    assert len({plain, filters, FolderEditor(**folders).fingerprint}) == 3


def test_what_it_cannot_do_is_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="originals: '' is no folder"):
        FolderEditor()
    with pytest.raises(ValueError, match="edits: 'nowhere' is no folder"):
        FolderEditor(originals=folders["originals"], edits="nowhere")
    with pytest.raises(ValueError, match="instead: 'magic' is not filters"):
        FolderEditor(**folders, instead="magic")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no picture for any in .*pictures in a/b/"):
        _ = FolderEditor(originals=folders["originals"], edits=str(tmp_path / "empty")).fingerprint
    assert FolderEditor(**folders).edit(drawing(0)[None][:0], [], []).shape == (0, 3, 96, 96)
