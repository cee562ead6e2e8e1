"""The scripts for Slurm and Kubernetes, as far as they run without either."""

import shlex
import subprocess
from pathlib import Path

import yaml
from helpers.tools import write_tools

from uda.cli.main import parse

ROOT = Path(__file__).resolve().parents[2]
SLURM = {
    "SLURM_SUBMIT_DIR": str(ROOT),
    "SLURM_JOB_NODELIST": "gpu[3-4]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_CPUS_PER_TASK": "32",
}


def sbatch(environment, *arguments):
    return subprocess.run(
        ["bash", "scripts/slurm/sweep.sbatch", *arguments],
        cwd=ROOT, env={**environment, **SLURM}, capture_output=True, text=True,
    )  # fmt: skip


def test_slurm_starts_ray_on_all_nodes_and_the_sweep_on_the_first(tmp_path):
    environment = write_tools(
        tmp_path,
        activate="",
        scontrol='[ "$*" = "show hostnames gpu[3-4]" ] && printf "gpu3\\ngpu4\\n"',
        srun='echo "srun $*"',
    )
    done = sbatch(environment, "a.yaml", "--gpus-per-run", "0.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "srun --ntasks 2 ray symmetric-run --address gpu3:6379 --min-nodes 2 --num-cpus 32 "
        "-- uda sweep a.yaml --gpus-per-run 0.5 --address auto\n"
    )
    assert "name an experiment" in sbatch(environment).stderr
    edits = sbatch({**environment, "COMMAND": "genmix edit"}, "data/Art", "--store", "data/edits")
    assert edits.stdout.endswith("-- genmix edit data/Art --store data/edits --address auto\n")


def test_kubernetes_gives_all_nodes_the_same_image_and_disk():
    job = yaml.safe_load((ROOT / "scripts/kubernetes/sweep.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    containers = [container for pod in pods for container in pod["containers"]]
    assert len({container["image"] for container in containers}) == 1
    mounts = [container["volumeMounts"] for container in containers]
    assert mounts == [[{"name": "work", "mountPath": "/work"}]] * 2
    assert all(pod["volumes"] == pods[0]["volumes"] for pod in pods)
    name, command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (name, command) == ("uda", "sweep")
    _, options = parse(["sweep", *arguments])
    assert options.address == "auto"
    assert options.data.root.startswith("/work/")
