"""Whatever befalls a file, it is whole or named: writers that are killed, full disks, two writers, damaged models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_no_file_is_lost_or_wrong_and_no_error_is_of_others():
    script = Path(__file__).with_name("attacked_files.py")
    command = [sys.executable, str(script), "--kills", "20", "--full", "8", "--writers", "5", "--damaged", "100"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    counts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    assert counts["kills"]["kills"] >= 20
    assert counts["full"]["identical_afterwards"] == 8
    assert counts["full"]["refused_by_our_error"] > 4
    assert counts["writers"]["rounds"] == 20
    assert counts["writers"]["second_was_told"] > 5
    assert counts["damaged"]["refused_by_our_error"] + counts["damaged"]["identical"] == 100
    for found in counts.values():
        bad = ("other", "left_behind", "lost", "wrong", "readers_dead", "too_large")
        assert not any(found.get(name, 0) for name in bad), counts
