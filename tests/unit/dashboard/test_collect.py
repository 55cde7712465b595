"""What a dashboard reads of the folders of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from written_runs import write_run

from retinai.dashboard.collect import Collected, collect, settings_of
from retinai.dashboard.wandb_views import report, sweep_file, view_json, workspace
from retinai.errors import UserError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two losses with two seeds each; one run failed, one is damaged; a benchmark beside them."""
    root = tmp_path_factory.mktemp("runs")
    for number, (loss, seed) in enumerate([("focal", 0), ("focal", 1), ("corn", 0)]):
        words = (
            f"loss={loss}",
            "optimizer.lr=1e-3" if loss == "corn" else "optimizer.lr=0.01",
            f"data.root=/x{number}",
        )
        write_run(root / f"{number}_{loss}", qwk=0.5 + number / 10, words=words, seed=seed)
    write_run(root / "3_corn", qwk=None, words=("loss=corn",), seed=1, status="failed", reason="loss is nan </script>")
    write_run(root / "4_torn")
    (root / "4_torn" / "run.json").write_text('{"status": "fin')
    row = {
        "name": "Lite0, ONNX",
        "reason": "",
        "network_ms": {"1": {"median": 12.345678}},
        "metric": "qwk",
        "value": 0.7,
    }
    (root / "benchmark.json").write_text(
        json.dumps({"rows": [row, {**row, "value": None}, {"name": "b", "reason": "no"}]})
    )
    return root


@pytest.fixture(scope="module")
def collected(runs: Path) -> Collected:
    return collect([runs], runs / "page")


def test_settings_that_differ_are_columns_and_repetitions_come_last(collected: Collected) -> None:
    assert collected.varying == ["loss", "optimizer.lr", "seed"] and collected.monitor == "qwk"
    by_name = {run["name"]: run for run in collected.runs}
    assert by_name["2_corn"]["settings"] == {"loss": "corn", "optimizer.lr": 0.001, "seed": 0}
    assert by_name["0_focal"]["group"] == by_name["1_focal"]["group"] != by_name["2_corn"]["group"]


def test_values_curves_and_links(collected: Collected) -> None:
    run = next(run for run in collected.runs if run["name"] == "1_focal")
    assert run["metrics"]["qwk"] == pytest.approx([0.6, 0.5, 0.7])
    assert run["curves"]["val/qwk"] == [[0, 1], [0.1, 0.4568]] and run["link"] == "../1_focal/report.html"
    assert run["classes"]["mild"][3] == 3 and run["confusion"][4][4] == 3
    assert collected.latencies == [{"name": "Lite0, ONNX", "ms": 12.35, "value": 0.7, "metric": "qwk"}]


def test_damaged_and_failed_runs_have_their_row_and_reason(collected: Collected) -> None:
    by_name = {run["name"]: run for run in collected.runs}
    assert by_name["4_torn"]["status"] == "damaged" and by_name["3_corn"]["reason"] == "loss is nan </script>"
    assert len(collected.problems) == 1 and "4_torn" in collected.problems[0]


@pytest.mark.parametrize(
    ("file", "content"),
    [("metrics.json", "[]"), ("metrics.json", '{"qwk": 1}'), ("metrics.csv", "a\n1\n"), ("metrics.csv", "\0")],
)
def test_a_damaged_file_costs_its_part_alone(tmp_path: Path, file: str, content: str) -> None:
    (write_run(tmp_path / "a") / file).write_text(content)
    found = collect([tmp_path], tmp_path)
    assert len(found.runs) == 1 and len(found.problems) == 1 and file in found.problems[0]


def test_words_of_a_value_are_numbers_where_they_are() -> None:
    words = ["+model.x='1e-4'", "data.limit=20", "backbone=resnet18", "data.root=/x", "run_dir=/y", "a=nan"]
    found = settings_of({"choices": {"prompt": "None"}, "words": words, "seed": 3})
    assert found == {"model.x": 1e-4, "data.limit": 20, "backbone": "resnet18", "a": "nan", "seed": 3}


def test_nothing_to_show_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no runs there"):
        collect([tmp_path], tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        collect([tmp_path / "none"], tmp_path)


def test_the_views_of_wandb_hold_what_its_own_model_asks_for(collected: Collected) -> None:
    """Built, written and read back by the library's own models, without a network."""
    import wandb_workspaces.reports.v2.internal as report_model
    import wandb_workspaces.workspaces.internal as workspace_model

    view = json.loads(view_json(workspace(collected, "title", "retinai", "team")))
    spec = workspace_model.WorkspaceViewspec.model_validate(view["spec"])
    sections = {section.name: section.panels for section in spec.section.panel_bank_config.sections}
    assert {"Curves", "Test", "Settings", "Classes and predictions"} <= set(sections)
    text = json.dumps(view)
    for key in ("val/qwk", "test/qwk", "loss.name", "optimizer.lr", "test/per_class"):
        assert key in text, key
    whole = json.loads(view_json(report(collected, "title", "retinai", "team")))
    assert report_model.ReportViewspec.model_validate(whole).spec.blocks


def test_a_sweep_of_wandb_has_the_values_of_the_runs(collected: Collected) -> None:
    sweep = yaml.safe_load(str(sweep_file(collected)))
    assert sweep["parameters"]["loss"] == {"values": ["corn", "focal"]}
    assert sweep["parameters"]["optimizer.lr"] == {"values": [0.001, 0.01]}
    assert sweep["command"][-1] == "${args_no_hyphens}" and sweep["metric"]["goal"] == "maximize"


def test_a_loss_that_is_monitored_is_to_be_low(tmp_path: Path) -> None:
    write_run(tmp_path / "a", qwk=None, words=("loss=corn",), seed=0)
    write_run(tmp_path / "b", qwk=None, words=("loss=focal",), seed=0)
    for name in "ab":
        file = tmp_path / name / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"monitor": "val/loss", "mode": "min"}))
    found = collect([tmp_path], tmp_path)
    assert found.monitor == "loss" and "loss" in found.lower_is_better and "qwk" not in found.lower_is_better
    assert yaml.safe_load(str(sweep_file(found)))["metric"] == {"name": "val/loss", "goal": "minimize"}


@pytest.mark.parametrize("parts", [{"N": [[2, 0], [1, 1]], "D": [[3, 0], [1, 0]]}, {"first": [[1]], "second": [[1]]}])
def test_a_run_with_a_matrix_for_each_label_is_not_damaged(tmp_path: Path, parts: dict[str, list[list[int]]]) -> None:
    folder = write_run(tmp_path / "labels", qwk=0.25)
    content = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**content, "confusion_matrix": parts}))
    found = collect([str(tmp_path)], tmp_path)
    assert found.problems == [] and found.runs[0]["metrics"]["qwk"][0] == 0.25 and found.runs[0]["confusion"] is None
