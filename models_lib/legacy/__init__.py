"""Model files of before the bundle: V6, V7 and V8 as torch.save wrote them, read without running anything of theirs.

A file is a stranger: its zip is checked (archive.py), its index is walked without being executed (outline.py), and only
then torch.load(weights_only=True) sees a copy of the parts that were checked (torch_file.py). What the document holds is
told by its tensors, not by its names (layers.py, scalers.py); `read_legacy` puts it together, and `LegacyPredictor`
answers as the file answered in production, faults included.

What is wrong with a model, also with a bundle, is measured in first_layers.py and diagnosis.py and put into words in
causes.py; what can be mended about an old one without training is in repair.py.

What does not belong here: candles, gates and files that are written (models_lib.steps), tables and pages
(models_lib.reports), bundles.
"""

from models_lib.legacy.model import LegacyModel, read_legacy
from models_lib.legacy.predictor import LegacyPredictor

__all__ = ["LegacyModel", "LegacyPredictor", "read_legacy"]
