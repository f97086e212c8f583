from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import mudata
import numpy as np
import pytest

import jamie as jm
from jamie._compat import quiet_mudata
from jamie.cli import _demo, main
from jamie.cli._write import write_mudata


@pytest.fixture
def given(toy, tmp_path):
    path = tmp_path / "in.h5mu"
    write_mudata(toy, path)
    return path


def read(path):
    with quiet_mudata():
        return mudata.read_h5mu(path)


def test_run_writes_latents_and_imputed_values_as_the_functions_do(given, tmp_path, toy):
    out, saved = tmp_path / "new" / "out.h5mu", tmp_path / "model.jamie"
    code = main(
        ["run", str(given), "-o", str(out), "--impute", "rna:protein", "--max-steps", "20", "--model", str(saved)]
    )
    assert code == 0
    found = read(out)
    model = jm.tl.train(toy, max_steps=20, rng=0)
    jm.tl.impute(toy, model, source="rna", target="protein")
    np.testing.assert_array_equal(found["rna"].obsm["X_jamie"], toy["rna"].obsm["X_jamie"])
    np.testing.assert_array_equal(found["rna"].obsm["jamie_imputed_protein"], toy["rna"].obsm["jamie_imputed_protein"])
    np.testing.assert_array_equal(jm.JAMIE.load(saved).embed(toy)["rna"], toy["rna"].obsm["X_jamie"])


def test_run_scores_held_out_cells_when_asked(given, tmp_path, capsys):
    out = tmp_path / "out.h5mu"
    arguments = ["--test-fraction", "0.3", "--labels", "cell_type", "--max-steps", "20"]
    assert main(["run", str(given), "-o", str(out), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "held-out" in printed
    assert "kernel_ridge" in printed
    assert (read(out).obs["jamie_split"] == "test").sum() == 14


@pytest.mark.slow
def test_run_draws_the_figures(given, tmp_path):
    figures = tmp_path / "figures"
    arguments = ["--impute", "rna:protein", "--labels", "cell_type", "--figures", str(figures), "--max-steps", "20"]
    assert main(["run", str(given), "-o", str(tmp_path / "out.h5mu"), *arguments]) == 0
    assert sorted(path.name for path in figures.iterdir()) == [
        "embedding.png",
        "history.png",
        "imputation_rna_protein.png",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--impute", "rna:proteins"],
            r"expected `--impute target` to be one of \['rna', 'protein'\], found 'proteins'",
        ),
        (["--labels", "celltype"], "did you mean 'cell_type'"),
        (["--recipe", "papers"], "did you mean 'paper'"),
        (["--test-fraction", "2"], "expected 0 < `test_fraction` < 1"),
        (["--device", "gpu"], "expected `device` to be one of what this machine has"),
        (["-o", "out.h5ad"], r"ends in '\.h5mu', found 'out\.h5ad'; pass --output out\.h5mu"),
    ],
)
def test_wrong_arguments_end_with_a_message_and_no_file(given, tmp_path, capsys, arguments, message):
    import re

    out = tmp_path / "out.h5mu"
    assert main(["run", str(given), "-o", str(out), "--max-steps", "20", *arguments]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5mu"]


def test_a_missing_or_foreign_input_is_named(tmp_path, capsys):
    assert main(["run", str(tmp_path / "none.h5mu"), "-o", str(tmp_path / "out.h5mu")]) == 1
    assert "expected a MuData file at" in capsys.readouterr().err
    (tmp_path / "text.h5mu").write_text("no HDF5")
    assert main(["run", str(tmp_path / "text.h5mu"), "-o", str(tmp_path / "out.h5mu")]) == 1
    error = capsys.readouterr().err
    assert "jamie: error:" in error
    assert str(tmp_path / "text.h5mu") in error
    jm.datasets.toy()["rna"].write_h5ad(tmp_path / "rna.h5ad")
    assert main(["run", str(tmp_path / "rna.h5ad"), "-o", str(tmp_path / "out.h5mu")]) == 1
    assert "rna.h5ad, found what cannot be read as one" in (error := capsys.readouterr().err)
    assert "mudata.MuData({'rna': rna" in error


def test_wrong_usage_ends_with_two(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "in.h5mu", "-o", "out.h5mu", "--impute", "rna"])
    assert ended.value.code == 2
    assert "expected SOURCE:TARGET such as rna:ephys, found 'rna'" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(given, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(jm.tl, "train", interrupt)
    assert main(["run", str(given), "-o", str(tmp_path / "out.h5mu")]) == 130
    assert "output was not written" in capsys.readouterr().err


def test_version_from_a_shell():
    shown = subprocess.run([sys.executable, "-m", "jamie", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == f"jamie-tools {version('jamie-tools')}"


def test_an_interrupted_write_leaves_nothing(toy, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(type(toy), "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_mudata(toy, tmp_path / "out.h5mu")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_source(tmp_path, monkeypatch):
    """No public data set can be had, and none is there."""
    monkeypatch.setenv("JAMIE_MIRROR", (tmp_path / "no source").as_uri())
    monkeypatch.setenv("JAMIE_DATA_DIR", str(tmp_path / "data"))


def test_demo_has_a_table_of_every_data_set(tmp_path, capsys, monkeypatch):
    """The whole of it on few cells and steps; the slow test below has its own."""
    monkeypatch.setattr(_demo, "_datasets", lambda _: {"toy": jm.datasets.toy()})
    train = jm.tl.train
    monkeypatch.setattr(jm.tl, "train", lambda mdata, **options: train(mdata, max_steps=10, **options))
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    printed = capsys.readouterr().out
    for shown in ("jamie", "kNN", "ridge", "supervised kernel", "FOSCTTM", "rna → protein", "protein → rna"):
        assert shown in printed
    assert (tmp_path / "demo" / "toy.h5mu").exists()


@pytest.mark.slow
def test_demo_needs_no_files_and_no_network(no_source, tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "branching_manifold.h5mu",
        "branching_manifold_embedding.png",
        "branching_manifold_history.png",
        "branching_manifold_imputation.png",
    ]
    printed = capsys.readouterr().out
    assert "without patchseq_motor_cortex: could not fetch 'motor_data_filtered.rda' from file:" in printed
    assert "x → y" in printed
    assert "y → x" in printed


def test_demo_says_what_it_takes_and_why(no_source, tmp_path, capsys, monkeypatch):
    assert list(_demo._datasets(0)) == ["branching_manifold"]
    printed = capsys.readouterr().out
    assert printed.count("could not fetch") == 2
    assert "simulated cells" in printed
    (tmp_path / "data").mkdir(exist_ok=True)
    jm.datasets.toy().write(tmp_path / "data" / "citeseq_pbmc_mosaic.h5mu")
    assert list(_demo._datasets(0)) == ["citeseq_pbmc_mosaic"]
    printed = capsys.readouterr().out
    assert "without patchseq_motor_cortex" in printed
    assert "simulated" not in printed
