"""What making a network costs beside its numbers: nothing that only torch's compiler needs is imported."""

import subprocess
import sys

import torch

from models_lib.networks.direction import _linear

MAKES_ONE = """
import sys
import torch
from models_lib.networks.direction import _linear
_linear(72, 256, torch.Generator().manual_seed(1))
sys.exit("sympy" in sys.modules)
"""


def test_first_weights_come_from_the_generator_as_torchs_own_initialiser_draws_them() -> None:
    layer, global_state = _linear(72, 256, torch.Generator().manual_seed(3)), torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    bound = 72**-0.5
    for mine, shape in ((layer.weight, (256, 72)), (layer.bias, (256,))):
        theirs = torch.nn.init.uniform_(torch.empty(shape), -bound, bound, generator=generator)
        assert mine.requires_grad
        assert torch.equal(mine, theirs)
    _linear(72, 256, generator)
    assert torch.equal(torch.get_rng_state(), global_state)


def test_network_is_made_without_sympy() -> None:
    assert subprocess.run([sys.executable, "-c", MAKES_ONE], check=False).returncode == 0
