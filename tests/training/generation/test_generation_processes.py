"""Pose-guided generation in two processes at once."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from generation_data import FD_GAN, small, standing
from safetensors.torch import load_file

from reidentify import Benchmark

PROGRAM = """
import sys
from reidentify import cli
from reidentify.training.generation.module import GenerationTraining
from safetensors.torch import save_file

def keep(self):
    learned = {name: p.detach().contiguous() for name, p in self.networks.named_parameters()}
    save_file(learned, f"{sys.argv[-1]}/rank{self.global_rank}.safetensors")

GenerationTraining.on_train_end = keep
sys.exit(cli.main(sys.argv[1:-1]))
"""


def test_two_processes_train_one_set_of_networks(people: Benchmark, tmp_path: Path) -> None:
    """Each takes its half of every batch, though encoder, generator, verifier and discriminators learn by turns; and
    in the end both have the same weights to the bit, as each step was by the gradients of both."""
    sightings = people.sightings.replace(keypoints=standing(len(people.sightings)))
    sightings.save(tmp_path / "people" / "sightings.parquet")
    sampler = {"kind": "pairs", "anchors": 8, "negatives": 1}
    recipe = small(FD_GAN, sampler=sampler, input={"holdout": 0}, run={"devices": 2})
    plain = dataclasses.asdict(recipe)
    plain["augment"]["erase_area"] = list(plain["augment"]["erase_area"])  # YAML knows no tuples
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(plain))
    out = tmp_path / "both"
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), "train", str(tmp_path / "recipe.yaml")]
    command += ["--data", str(tmp_path / "people"), "--out", str(out), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    state = load_file(out / "generator.safetensors")
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert not [name for name in first if not torch.equal(first[name], second[name])]
    assert torch.equal(first["generator.down.0.weight"], state["generator.down.0.weight"])  # the run is that of both
    assert all(torch.isfinite(value.float()).all() for value in state.values())
    assert (out / "history.csv").read_text().count("\n") == 3
    assert (out / "pictures.png").exists()
