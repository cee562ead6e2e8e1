"""A pipeline's folder: known by its content."""

import shutil

from genmix_aug.editors.diffusion.model_folder import CHUNK_BYTES, CHUNKS, folder_digest


def test_a_folder_is_known_by_its_content(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    digest = folder_digest(folder)
    assert folder_digest(copy) == digest
    (copy / "README.md").write_text("anything")
    assert folder_digest(copy) == digest
    for name in ("vae/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"):
        path = copy / name
        content = path.read_bytes()
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        assert folder_digest(copy) != digest
        path.write_bytes(content)
    assert folder_digest(copy) == digest
    (copy / "unet" / "config.json").rename(copy / "unet" / "other.json")
    assert folder_digest(copy) != digest


def test_large_weights_are_sampled(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    path.parent.mkdir()
    size = CHUNKS * CHUNK_BYTES + 12_345

    def digest_with(*positions, length=size):
        with path.open("wb") as file:
            file.truncate(length)
            for position in positions:
                file.seek(position)
                file.write(b"x")
        return folder_digest(tmp_path)

    plain = digest_with()
    assert digest_with() == plain
    middle = (size - CHUNK_BYTES) * 30 // (CHUNKS - 1)  # where the 31st chunk begins
    seen = [digest_with(0), digest_with(middle), digest_with(size - 1)]
    assert len({plain, *seen, digest_with(length=size + 1)}) == 5
