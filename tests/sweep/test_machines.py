"""Machines of a sweep, and the selection of its networks."""

import pytest

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.zoo import ZooModel
from lanewise.sweep.machines import machines
from lanewise.sweep.network import NetworkTask, Shapes
from lanewise.sweep.order import Families
from lanewise.sweep.selection import names_in, select


def test_the_default_machine_has_no_label():
    (machine,) = machines([], [])
    assert (machine.config, machine.label) == (MachineConfig(), "")


def test_files_and_what_varies_are_a_product(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("[matrix]\nrows = 8\n")
    found = machines([path], ["vector.lanes=4,8", "flex_sfu.double_buffered=false,true"])
    assert [machine.label for machine in found] == [
        "matrix.rows=8 vector.lanes=4",
        "flex_sfu.double_buffered=true matrix.rows=8 vector.lanes=4",
        "matrix.rows=8",
        "flex_sfu.double_buffered=true matrix.rows=8",
    ]
    assert [m.config.flex_sfu.lanes for m in found] == [4, 4, 8, 8]
    assert len({machine.hash for machine in found}) == 4
    assert machines([path, path], []) == machines([path], ["matrix.rows=8"])


def test_lists_are_values():
    (machine,) = machines([], ['flex_sfu.formats=["fp16", "bf16"]'])
    assert machine.config.flex_sfu.formats == ("fp16", "bf16")
    assert machine.label == "flex_sfu.formats=fp16+bf16"


@pytest.mark.parametrize(
    ("vary", "line"),
    [
        (
            "vector.lanes",
            "--vary vector.lanes: is not KEY=VALUE,VALUE,...; expected such as vector.lanes=4,8,16",
        ),
        ("vector.lanes=", "is not KEY=VALUE"),
        ("vector.lanes=four", "is not KEY=VALUE"),
        ("vector.lane=4", "--vary vector.lane=4: vector.lane: unknown key; expected one of"),
        ("vector.lanes=8,3", "--vary vector.lanes=3: vector.lanes must be"),
        ("clock_ns.x=8", "--vary clock_ns.x=8: clock_ns"),
        ("matrix.rows=true", "matrix.rows"),
    ],
)
def test_what_is_no_machine_is_refused(vary, line):
    with pytest.raises(UserError) as problem:
        machines([], [vary])
    assert line in str(problem.value)
    assert len(str(problem.value).splitlines()) == 1


def test_a_key_is_varied_once():
    with pytest.raises(
        UserError, match=r"--vary vector\.lanes: is there 2 times; expected all its values in one"
    ):
        machines([], ["vector.lanes=4", "matrix.rows=16", "vector.lanes=16"])


KNOWN = [
    ZooModel(name=f"timm:{name}", library="timm", family=family, domain="vision")
    for name, family in (("resnet18", "resnet"), ("resnet34", "resnet"), ("vit_tiny", "vit"))
]


def test_networks_are_chosen_by_name_and_pattern():
    assert select([], known=KNOWN) == tuple(KNOWN)
    assert [m.name for m in select(["timm:vit_tiny", "timm:res*", "timm:resnet18"], known=KNOWN)] == [
        "timm:resnet18",
        "timm:resnet34",
        "timm:vit_tiny",
    ]
    (tagged,) = select(["timm:resnet18.a1_in1k"], known=KNOWN)
    assert (tagged.name, tagged.family) == ("timm:resnet18.a1_in1k", "resnet")
    (other,) = select(["hf:bert"], known=KNOWN)
    assert (other.library, other.family, other.domain, other.year) == (
        "transformers",
        "bert",
        "language",
        2018,
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "timm:resnet19",
            "unknown network; expected timm:NAME, hf:NAME or a pattern such as timm:resnet*; did you mean",
        ),
        ("resnet18", "unknown network"),
        ("hf:", "unknown network"),
        ("timm:vgg*", "fits no network; expected a pattern such as timm:resnet*"),
    ],
)
def test_what_is_no_network_is_refused(name, line):
    with pytest.raises(UserError) as problem:
        select([name], known=KNOWN)
    assert line in str(problem.value)


def test_names_come_from_a_file(tmp_path):
    path = tmp_path / "models.txt"
    path.write_text("# mine\ntimm:res*  # both\n\nhf:bert\n")
    assert names_in(path) == ["timm:res*", "hf:bert"]
    path.write_text("# none\n")
    with pytest.raises(UserError, match="has no names"):
        names_in(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no text"):
        names_in(path)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        names_in(tmp_path / "absent")


def test_a_worker_stays_with_a_family_and_then_takes_half_of_another():
    sizes = {"a": 5, "b": 2, "c": 1}
    tasks = [
        NetworkTask(
            model=ZooModel(name=f"{family}{i}", library="timm", family=family, domain="vision"),
            shapes=Shapes(),
            machines=(),
        )
        for family, size in sizes.items()
        for i in range(size)
    ]
    families = Families(tasks)

    def take(worker: str) -> str:
        task = families.take(worker)
        return task.model.name if task else ""

    assert [take(worker) for worker in "xyxyy"] == ["a0", "b0", "a1", "b1", "c0"]
    assert len(families) == 3
    assert [take("y"), take("y"), take("x"), take("x")] == ["a4", "a3", "a2", ""]
    assert len(families) == 0
