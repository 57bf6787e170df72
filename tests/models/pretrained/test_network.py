"""What a run gives is checked where it is made."""

import pytest
import torch

from lanewise.errors import UserError
from lanewise.models.pretrained import NETWORKS, pretrained
from lanewise.models.pretrained.network import Outputs


@pytest.mark.parametrize("name", NETWORKS)
def test_names(name):
    network = pretrained(name)
    assert network.facts.name == name
    assert network.facts.packages


def test_unknown_network_is_refused():
    with pytest.raises(UserError, match=r"^network must be one of minilm, .*, not 'gpt'$"):
        pretrained("gpt")


def test_outputs_are_checked():
    rows = torch.zeros(3, 2)
    with pytest.raises(
        ValueError, match=r"^features, decisions and details must have as many rows, not \[2, 3\]$"
    ):
        Outputs(features=rows, decisions=torch.zeros(2), details=torch.zeros(3))
    with pytest.raises(ValueError, match=r"^features must be finite, not NaN or infinite$"):
        Outputs(features=rows / 0, decisions=torch.zeros(3), details=torch.zeros(3))
