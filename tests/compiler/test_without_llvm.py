"""Where llvmlite is not installed, steps run eagerly and one notice says so."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PROGRAM = textwrap.dedent("""
    import sys
    import warnings

    sys.modules["llvmlite"] = None  # what an import finds where it is not installed
    import contraflow as cf
    from contraflow import nn

    cf.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = cf.optim.SGD(model.parameters(), lr=0.1)

    def plain(x, y):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        step = cf.compile(plain)
        other = cf.compile(check_finite=True)(plain)
    (notice,) = notices
    assert notice.filename == "<string>", notice.filename
    assert "pip install llvmlite" in str(notice.message)
    x, y = cf.randn(8, 2), cf.randn(8, 1)
    losses = [step(x, y).item() for _ in range(20)]
    assert losses[-1] < losses[0]
    assert other(x, y).item() < losses[0]
    assert "llvmlite" in step.explain()
    loader = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=2)
    assert step.epoch(loader).shape == (4,)
    assert step.__name__ == "plain"
    print("fine")
""")


def test_steps_run_eagerly_with_one_notice():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr
