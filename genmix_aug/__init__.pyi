# ruff: noqa: I001
# The public names: each is imported from its module when it is first used.
from .editors import EDITORS as EDITORS, Editor as Editor
from .editors.options import make_editor as make_editor
from .edits.fill import FillSettings as FillSettings
from .edits.plan import EditPlan as EditPlan
from .edits.samples import fill_store as fill_store
from .edits.store import (
    BrokenEditError as BrokenEditError,
    EditStore as EditStore,
    MissingEditError as MissingEditError,
)
from .export import ExportSettings as ExportSettings, export_tree as export_tree
from .images import find_images as find_images, load_rgb as load_rgb
from .mixing.fractal_folder import load_fractals as load_fractals, write_fractals as write_fractals
from .mixing.fractals import draw_fractals as draw_fractals
from .mixing.genmix import GenMix as GenMix
from .mixing.masks import blend_width_for as blend_width_for, smooth_mask as smooth_mask
from .mixing.mix import (
    blend as blend,
    concatenate as concatenate,
    mix_box as mix_box,
    mix_constant as mix_constant,
    mix_seam as mix_seam,
)
from .prompts import PROMPT_SETS as PROMPT_SETS
from .screening.checks import screen as screen
from .transform import GenMixTransform as GenMixTransform
