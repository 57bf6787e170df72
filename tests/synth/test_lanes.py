"""A lane's parts add up to the unit that is built of them."""

import pytest

from lanewise.config import FlexSfuConfig
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.synth import Synthesiser, load_liberty
from lanewise.synth.lanes import lane_area


@pytest.mark.parametrize(
    "config",
    [
        FlexSfuConfig(segments=4, lanes=2),
        FlexSfuConfig(segments=4, lanes=2, degree=2),
        FlexSfuConfig(segments=8, lanes=3, degree=2, formats=("int8", "fp8e5m2")),
    ],
    ids=["degree 1", "degree 2", "integers, degree 2"],
)
def test_lanes_and_what_they_share_make_the_unit(config, tmp_path):
    run = Synthesiser(liberty=load_liberty(None, None), clock_ns=2.0, cache=tmp_path)
    area = lane_area(config, "some", run)
    assert area.unit_um2(config.lanes) == pytest.approx(run(FlexSfu(config), "flex_sfu").area_um2, rel=0.01)
