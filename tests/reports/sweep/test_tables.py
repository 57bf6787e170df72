"""Every figure of the tables against numpy and plain loops."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from lanewise.config import MachineConfig
from lanewise.reports.sweep import relations, tables
from lanewise.reports.sweep.page import analyse


def test_distribution_is_numpys(made):
    done = made.load(made.sweep(120, seed=5)).done()
    rows = {row["group"]: row for row in tables.by_domain(done).rows}
    assert list(rows) == ["all", "vision", "language", "audio and multimodal"]
    domains = np.array(done["domain"].to_list())
    for name, row in rows.items():
        chosen = np.ones(len(domains), bool) if name == "all" else np.isin(domains, tables.DOMAIN_GROUPS[name])  # fmt: skip
        x = done["speedup"].to_numpy()[chosen]
        expected = [len(x), x.mean(), stats.gmean(x), x.min(), *np.quantile(x, [0.25, 0.5, 0.75]), x.max(), (x > 1.01).mean(), (x == 1).sum()]  # fmt: skip
        assert [row[key] for key in tables.DISTRIBUTION] == pytest.approx(expected, rel=1e-12), name
    assert rows["all"]["networks"] == sum(row["networks"] for name, row in rows.items() if name != "all")


def test_classes_of_share_are_disjoint_and_whole(made):
    shares = [0.0, 0.01, 0.05, 0.0500001, 0.6, 0.61, 1.0]
    done = made.load([made.row(f"timm:a{i}", 10, 20, activation_share=share) for i, share in enumerate(shares)]).done()  # fmt: skip
    assert [(row["share"], row["networks"]) for row in tables.by_share(done).rows] == [
        ("0 %", 1), ("0 to 5 %", 2), ("5 to 10 %", 1), ("50 to 60 %", 1), ("60 to 100 %", 2),
    ]  # fmt: skip


def test_families_tell_libraries_apart(made):
    done = made.load([
        made.row("timm:resnet1", 10, 20, family="resnet", year=2017), made.row("timm:resnet2", 10, 45, family="resnet", year=2015),
        made.row("hf:resnet", 10, 10, family="resnet", library="transformers"),
    ]).done()  # fmt: skip
    first, second = tables.by_family(done).rows
    assert (first["library"], first["first_year"], first["best"], first["networks"]) == ("timm", 2015, "timm:resnet2", 2)  # fmt: skip
    assert first["geometric_mean"] == pytest.approx(3.0)
    assert (second["library"], second["maximum"], second["unchanged"]) == ("transformers", 1.0, 1)


def test_best_worst_and_those_without_gain(made):
    rows = [made.row(f"timm:a{i}", 100, 100 + i) for i in range(40)] + [made.row("timm:relu1", 50, 50)]
    analysis = analyse(made.load(rows))
    assert [row["model"] for row in analysis.tables["best"].rows] == [f"timm:a{i}" for i in range(39, 24, -1)]
    assert [row["model"] for row in analysis.tables["worst"].rows] == [f"timm:a{i}" for i in range(1, 16)]
    assert {row["model"] for row in analysis.tables["unchanged"].rows} == {"timm:a0", "timm:relu1"}
    assert all(row["speedup"] == 1 for row in analysis.tables["unchanged"].rows)
    assert (analysis.summary["unchanged"], analysis.summary["without_activation"]) == (2, 2)


def test_failures_of_one_kind_are_counted_together(made):
    reasons = {
        f"timm:{name}": f"E: timm:{name}: operator {name}.x (norm) has no kernel" for name in ("a1", "a2")
    }
    reasons["timm:a3"] = "killed"
    by_reason, every = tables.failures(
        made.load([made.failed(name, reason) for name, reason in reasons.items()]).rows
    )
    assert [(r["reason"], r["networks"], r["example"]) for r in by_reason.rows] == [
        ("E: operator (norm) has no kernel", 2, "timm:a1"), ("killed", 1, "timm:a3"),
    ]  # fmt: skip
    assert {row["model"]: row["reason"] for row in every.rows} == reasons


def test_correlation_is_scipys_and_the_bound_is_amdahls(made):
    done = made.load(made.sweep(90, seed=8)).done()
    found = relations.correlate(done)
    share, speedup = done["activation_share"].to_numpy(), done["speedup"].to_numpy()
    assert found.networks == len(done)
    assert found.pearson == pytest.approx(np.corrcoef(share, speedup)[0, 1])
    assert found.spearman == pytest.approx(np.corrcoef(stats.rankdata(share), stats.rankdata(speedup))[0, 1])
    some = share > 0
    assert found.removed == pytest.approx(np.median((1 - 1 / speedup[some]) / share[some]))
    assert found.over_bound == ()


def test_a_network_on_the_bound_is_not_over_it(made):
    rows = [made.row("timm:a1", 10**9, 3 * 10**9), made.row("timm:a2", 10, 20, activation_share=0.49)]
    assert relations.correlate(made.load(rows).done()).over_bound == ("timm:a2",)


@pytest.mark.parametrize("rows", [[], [(10, 20)], [(10, 10), (20, 20), (30, 30)]])
def test_no_correlation_of_what_does_not_vary(made, rows):
    found = relations.correlate(made.load([made.row(f"timm:a{i}", *cycles) for i, cycles in enumerate(rows)]).done())  # fmt: skip
    assert (found.pearson, found.spearman) == (None, None)


def test_machines_are_compared_over_the_networks_that_all_have(made):
    small, wide = made.machine(vector={"lanes": 4}, flex_sfu={"lanes": 4}), made.machine(matrix={"rows": 16, "columns": 16})  # fmt: skip
    rows = [made.row(f"timm:a{i}", 10, 20) for i in range(4)]
    rows += [made.row(f"timm:a{i}", 10, 40, config_hash=small.hash, config="lanes=4") for i in range(3)]
    rows += [made.row(f"timm:a{i}", 10, 15, config_hash=wide.hash, config="16 x 16") for i in range(1, 4)]
    rows += [made.row("timm:a1", 10, 90, config_hash="unknown")]
    table = relations.by_machine(made.load(rows, [small, wide]))
    assert [(r["config"], r["ratio"], r["networks"], r["median"]) for r in table.rows] == [
        ("16 x 16", 32.0, 2, 1.5), ("default", 128.0, 2, 2.0), ("lanes=4", 256.0, 2, 4.0),
    ]  # fmt: skip


def test_options_are_compared_over_the_networks_that_have_all_values(made):
    rows = [made.row(f"timm:a{i}", 10, 10 * s, options=f"batch=1 sequence={64 * s}") for i in range(3) for s in (1, 2, 3)]  # fmt: skip
    rows += [made.row("timm:b1", 10, 70, options="batch=1 sequence=64"), made.row("timm:b2", 10, 70, options="batch=1")]  # fmt: skip
    rows += [made.row("timm:a0", 10, 99, options="batch=4 sequence=64")]
    batch, sequence = relations.by_option(made.load(rows).done())
    assert [(r["sequence"], r["networks"], r["mean"]) for r in sequence.rows] == [(64, 3, 1.0), (128, 3, 2.0), (192, 3, 3.0)]  # fmt: skip
    assert [(r["batch"], r["networks"], r["mean"]) for r in batch.rows] == [(1, 1, 1.0), (4, 1, 9.9)]
    assert relations.by_option(made.load(rows[:1]).done()) == []


def test_csv_has_every_row_and_its_heading_without_rows(made):
    table = tables.by_domain(made.load(made.sweep(30, seed=2)).done())
    read = list(csv.DictReader(io.StringIO(table.csv())))
    assert [float(row["geometric_mean"]) for row in read] == [row["geometric_mean"] for row in table.rows]
    empty = tables.by_domain(made.load([]).done())
    assert empty.csv().startswith("group,networks,mean,")


def test_beside_the_paper_are_vision_and_language(made):
    rows = [made.row("timm:a1", 10, 20), made.row("hf:b1", 10, 30, domain="language"), made.row("hf:c1", 10, 70, domain="audio")]  # fmt: skip
    table = {row["quantity"]: row for row in analyse(made.load(rows)).tables["paper"].rows}
    assert [table["mean improvement"][key] for key in ("paper", "ours", "all")] == ["+35.7 %", "+150.0 %", "+300.0 %"]  # fmt: skip
    assert [table["largest speedup"][key] for key in ("paper", "ours", "all")] == ["3.3x", "3.00x", "7.00x"]


def test_assumptions_are_the_configs(made):
    machine = made.machine(vector={"lanes": 16}, matrix={"rows": 8, "columns": 4}, clock_ns=4.0)
    results = made.load([made.row("timm:a1", 10, 20, config_hash=machine.hash)], [machine])
    table = {row["quantity"]: row["ours"] for row in analyse(results).tables["assumptions"].rows}
    assert table["array"].startswith("8 x 4 INT4")
    assert table["vector unit"].startswith("16 lanes")
    assert table["clock"] == "250 MHz"
    assert "(8 GB/s)" in table["memory"]
    assert MachineConfig().hash not in results.machines
