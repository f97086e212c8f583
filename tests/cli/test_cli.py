from __future__ import annotations

import io
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import mudata
import numpy as np
import pytest

import jamie as jm
from jamie._atomic import writing
from jamie._compat import quiet_mudata
from jamie.cli import _demo, main
from jamie.cli._write import write_mudata
from jamie.train import _trainer


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


def test_run_writes_bounds_and_how_sure_cells_are(given, tmp_path, toy):
    out = tmp_path / "out.h5mu"
    arguments = ["--impute", "rna:protein", "--interval", "0.8", "--max-steps", "20"]
    assert main(["run", str(given), "-o", str(out), *arguments]) == 0
    found = read(out)["rna"]
    jm.tl.impute(toy, jm.tl.train(toy, max_steps=20, rng=0), source="rna", target="protein", interval=0.8)
    for name in ("lower", "upper"):
        key = f"jamie_imputed_protein_{name}"
        np.testing.assert_array_equal(found.obsm[key], toy["rna"].obsm[key])
    key = "jamie_imputation_confidence_protein"
    np.testing.assert_array_equal(found.obs[key], toy["rna"].obs[key])


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


@pytest.mark.slow
def test_run_writes_the_report(given, tmp_path):
    page, out = tmp_path / "new" / "report.html", tmp_path / "out.h5mu"
    arguments = ["--impute", "rna:protein", "--test-fraction", "0.3", "--labels", "cell_type", "--max-steps", "20"]
    assert main(["run", str(given), "-o", str(out), "--report", str(page), *arguments]) == 0
    text = page.read_text(encoding="utf-8")
    assert "20 steps are too few" in text
    assert "kernel ridge" in text
    assert "jamie_diagnosis" in read(out).uns


def test_two_outputs_are_not_one_file(given, tmp_path, capsys):
    out = str(tmp_path / "out.h5mu")
    assert main(["run", str(given), "-o", out, "--report", out]) == 1
    assert "expected another file for --report than for --output" in capsys.readouterr().err
    assert main(["run", str(given), "-o", out, "--model", str(tmp_path / "a"), "--report", str(tmp_path / "a")]) == 1
    assert "expected another file for --report than for --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--impute", "rna:proteins"],
            r"expected `--impute target` to be one of \['rna', 'protein'\], found 'proteins'",
        ),
        (["--labels", "celltype"], "did you mean 'cell_type'"),
        (["--interval", "90", "--impute", "rna:protein"], r"`interval` above 0 and at most 0\.98, found 90"),
        (["--interval", "0.9"], "expected --impute with --interval"),
        (
            ["--interval", "0.9", "--impute", "rna:protein", "--recipe", "paper"],
            "found 'paper' with --interval; pass --recipe default",
        ),
        (["--interval", "0.9", "--impute", "rna:rna"], "found rna:rna, a reconstruction; leave out --interval"),
        (
            ["--interval", "0.9", "--impute", "rna:protein", "--test-fraction", "0.5"],
            "at least 30 known pairs of 'rna' and 'protein' to learn from with --interval, found 2",
        ),
        (["--recipe", "papers"], "did you mean 'paper'"),
        (["--test-fraction", "2"], "expected 0 < `test_fraction` < 1"),
        (["--device", "gpu"], "expected `device` to be one of what this machine has"),
        (["-o", "out.h5ad"], r"ends in '\.h5mu', found 'out\.h5ad'; pass --output out\.h5mu"),
    ],
)
def test_wrong_arguments_end_with_a_message_and_no_file(given, tmp_path, capsys, arguments, message):
    out = tmp_path / "out.h5mu"
    assert main(["run", str(given), "-o", str(out), "--max-steps", "20", *arguments]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error
    assert "trained in" not in error
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
    embedding = jm.pl.embedding
    monkeypatch.setattr(jm.pl, "embedding", lambda mdata, **options: embedding(mdata, basis="pca", **options))
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


@pytest.fixture
def signalled(monkeypatch):
    """Send this process a signal in the third step of a training."""

    def at_third(number):
        step = _trainer._Run.step

        def and_signal(run, draws):
            step(run, draws)
            if run.done == 3:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(_trainer._Run, "step", and_signal)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield at_third
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_is_written_and_says_so(given, tmp_path, capsys, signalled, number, code):
    out, saved = tmp_path / "out.h5mu", tmp_path / "model.jamie"
    signalled(number)
    arguments = ["--impute", "rna:protein", "--model", str(saved), "--max-steps", "20"]
    assert main(["run", str(given), "-o", str(out), *arguments]) == code
    assert f"the training was interrupted ({number.name})" in capsys.readouterr().err
    summary = jm.get.summary(read(out))
    assert (summary.interrupted, summary.n_steps) == (number.name, 3)
    model = jm.JAMIE.load(saved)
    assert model.summary_ == summary
    assert f"interrupted after step 3 ({number.name}), with the weights of step" in repr(model)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
def test_the_same_command_goes_on_with_an_interrupted_training(given, tmp_path, capsys, signalled):
    out = tmp_path / "out.h5mu"
    command = ["run", str(given), "-o", str(out), "--max-steps", "20", "--checkpoint", str(tmp_path / "run")]
    with pytest.MonkeyPatch.context() as patch:
        step = _trainer._Run.step
        signalled(signal.SIGTERM)
        assert main(command) == 143
        patch.setattr(_trainer._Run, "step", step)
        assert main(command) == 0
    assert "going on after step 3 of 20" in capsys.readouterr().err
    summary = jm.get.summary(read(out))
    assert (summary.interrupted, summary.n_steps) == ("", 20)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
def test_sigterm_while_the_output_is_written_leaves_the_old_one(given, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.h5mu"
    main(["run", str(given), "-o", str(out), "--max-steps", "1"])
    old = out.read_bytes()

    def write(_, path, **__):
        path.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(mudata.MuData, "write", write)
    assert main(["run", str(given), "-o", str(out), "--max-steps", "2"]) == 143
    assert "output was not written" in capsys.readouterr().err
    assert out.read_bytes() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5mu", "out.h5mu"]


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda folder: (folder / "m").mkdir(), ["--model", "{}/m"], "expected a file to write at .*, found a folder"),
        (lambda folder: (folder / "m").touch(), ["--model", "{}/m/x"], "found that there can be no folder"),
        (lambda folder: (folder / "f").touch(), ["--figures", "{}/f"], "found that there can be no folder"),
        (lambda folder: None, ["--model", "{}/out.h5mu"], "expected another file for --model than for --output"),
        (lambda folder: (folder / "out.h5mu").mkdir(), [], "expected a file to write at .*, found a folder"),
        (
            lambda folder: (folder / "m").write_text("mine"),
            ["--model", "{}/m"],
            "another file, .*pass another `--model`",
        ),
        (
            lambda folder: (folder / "r").write_text("mine"),
            ["--report", "{}/r"],
            "another file, .*pass another `--report`",
        ),
        (lambda folder: read(folder / "in.h5mu").write(folder / "out.h5mu"), [], "another file, .*another `--output`"),
        (lambda folder: (folder / "out.h5mu").write_text("mine"), [], "another file, .*pass another `--output`"),
    ],
    ids=[
        "model is a folder",
        "in a file",
        "figures in a file",
        "one for both",
        "output is a folder",
        "no model",
        "no report",
        "a MuData of somebody else",
        "no MuData",
    ],
)
def test_outputs_are_checked_before_the_training(given, tmp_path, capsys, monkeypatch, make, arguments, message):
    monkeypatch.setattr(jm.tl, "train", lambda *_, **__: pytest.fail("trained before it was checked"))
    make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    arguments = [argument.format(tmp_path) for argument in arguments]
    assert main(["run", str(given), "-o", str(tmp_path / "out.h5mu"), *arguments]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_command_wrote_and_its_input_are_replaced(given, tmp_path):
    out = tmp_path / "out.h5mu"
    for steps in (1, 2):
        assert main(["run", str(given), "-o", str(out), "--max-steps", str(steps)]) == 0
        assert jm.get.summary(read(out)).n_steps == steps
    assert main(["run", str(given), "-o", str(given), "--max-steps", "1"]) == 0
    assert jm.get.summary(read(given)).n_steps == 1


def test_folders_of_outputs_are_made_and_taken_away_if_nothing_came(given, tmp_path, monkeypatch):
    arguments = ["--model", str(tmp_path / "a" / "b" / "m.jamie"), "--figures", str(tmp_path / "figures")]
    with monkeypatch.context() as patched:
        patched.setattr(jm.tl, "train", lambda *_, **__: (_ for _ in ()).throw(ValueError("no luck")))
        assert main(["run", str(given), "-o", str(tmp_path / "c" / "out.h5mu"), *arguments]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5mu"]
    assert main(["run", str(given), "-o", str(tmp_path / "c" / "out.h5mu"), "--max-steps", "2", *arguments[:2]]) == 0
    assert jm.JAMIE.load(tmp_path / "a" / "b" / "m.jamie").summary_.n_steps == 2


def test_a_second_command_with_one_output_is_told_before_it_trains(given, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jm.tl, "train", lambda *_, **__: pytest.fail("trained before it was told"))
    out = tmp_path / "out.h5mu"
    with ThreadPoolExecutor(1) as other, writing(out):
        assert other.submit(main, ["run", str(given), "-o", str(out)]).result() == 1
    assert "another process writes" in capsys.readouterr().err


def test_what_stdout_has_no_character_for_is_escaped(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    monkeypatch.setattr(_demo, "demo", lambda *_, **__: print("rna → protein"))
    assert main(["demo"]) == 0
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue() == b"rna \\u2192 protein\n"


def test_what_was_computed_is_kept_when_a_figure_fails(given, tmp_path, monkeypatch):
    def fails(*_, **__):
        msg = "no font"
        raise RuntimeError(msg)

    monkeypatch.setattr(jm.pl, "embedding", fails)
    out, model = tmp_path / "out.h5mu", tmp_path / "model.jamie"
    arguments = ["--figures", str(tmp_path / "figures"), "--model", str(model), "--max-steps", "2"]
    with pytest.raises(RuntimeError, match="no font"):
        main(["run", str(given), "-o", str(out), *arguments])
    assert "X_jamie" in read(out)["rna"].obsm
    assert jm.JAMIE.load(model).preparations_


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "IN"], "another file for --model than for the input"),
        (["--report", "IN"], "another file for --report than for the input"),
        (["--checkpoint", "OUT"], "another file for --output than for --checkpoint"),
        (["--checkpoint", "x", "--model", "x"], "another file for --model than for --checkpoint"),
        (["--figures", "y", "--report", "y"], "another file for --report than for --figures"),
    ],
)
def test_no_output_takes_the_place_of_another_or_of_the_input(given, tmp_path, capsys, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, before = tmp_path / "out.h5mu", given.read_bytes()
    named = [{"IN": str(given), "OUT": str(out)}.get(argument, argument) for argument in arguments]
    assert main(["run", str(given), "-o", str(out), "--max-steps", "1", *named]) == 1
    assert message in capsys.readouterr().err
    assert given.read_bytes() == before
    assert not out.exists()


@pytest.mark.parametrize("option", ["--model", "--report", "--figures", "--checkpoint"])
def test_empty_text_is_no_path(given, tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        main(["run", str(given), "-o", str(tmp_path / "out.h5mu"), option, ""])
    assert "expected a path, found empty text" in capsys.readouterr().err
