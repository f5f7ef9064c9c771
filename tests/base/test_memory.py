"""Training steps of one size do not ask the system for memory again and again."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Page faults of one step, after some steps; the arrays are of 100 kB to 800 kB.
CODE = """
import resource
import contraflow as cf

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

model = cf.nn.Sequential(cf.nn.Linear(784, 256), cf.nn.ReLU(), cf.nn.Linear(256, 128))
optimizer = cf.optim.Adam(model.parameters())
x = cf.randn(64, 784)
for step in range(20):
    before = faults()
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_a_step_does_not_fault():
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=root
    )
    assert int(done.stdout) < 50  # more than 1,000 if memory goes back to the system
