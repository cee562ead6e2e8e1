from helpers.phone import noise, save_tagged

from genmix_aug.digests import image_digest
from genmix_aug.edits.again import originals_of
from genmix_aug.images import from_picture, load_rgb


def test_originals_of_edits_from_before_pictures_were_turned_are_known(tmp_path):
    path = tmp_path / "phone.png"
    save_tagged(path, noise())
    stored, upright = image_digest(from_picture(noise())), image_digest(load_rgb(path))
    for images, folder in (("", str(tmp_path)), (str(tmp_path), "")):
        records = [
            {"image": digest, "folder": folder, "source": path.name} for digest in (stored, upright)
        ]
        originals = originals_of(records, images)
        assert originals == {upright: (path, 0, True), stored: (path, 0, False)}
