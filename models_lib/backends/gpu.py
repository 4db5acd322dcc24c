"""Whether a training would use a GPU of this machine, found out without loading torch.

What does not belong here: which GPU, and who may use it when.
"""

from pathlib import Path

from models_lib.config.sections import TrainingSection

_DEVICES = Path("/dev")


def uses_gpu(training: TrainingSection, *, devices: Path = _DEVICES) -> bool:
    """True when the training asks for CUDA, or takes it because this machine has an NVIDIA device.

    One that happens elsewhere uses none of this machine's.
    """
    if training.backend != "local":
        return False
    match training.device:
        case "cpu":
            return False
        case "cuda":
            return True
        case "auto":
            return any(devices.glob("nvidia[0-9]*"))
