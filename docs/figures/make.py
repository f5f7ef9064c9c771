"""Draw the figures of the documentation from ``results.json``; needs matplotlib (the docs extra).

``python docs/figures/make.py`` writes the SVGs beside this file; with a folder as argument, PNGs
there instead, to look at. The numbers come from ``runs.py``, which runs the experiments.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

import contraflow as cf

HERE = Path(__file__).resolve().parent
TOLD = runpy.run_path(str(HERE / "runs.py"))

# A card with a ground of its own looks the same on a light and on a dark page.
CARD, INK, FAINT = "#fdfcf9", "#2b2b2b", "#8a8780"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#aa4499", "#8a8780"
STYLE = {
    "figure.facecolor": CARD,
    "axes.facecolor": CARD,
    "savefig.facecolor": CARD,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "font.size": 9,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "contraflow",  # the same file from the same numbers
    "svg.fonttype": "path",  # the same letters for everybody
}


def panels(count, width=8.6, height=3.3, **options):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, count, **options)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1, wspace=0.08)
    return figure, axes


def named(axes, x, y, name, color, dx=4, dy=0):
    """The name of a line at its end."""
    axes.annotate(
        name, (x, y), (dx, dy), textcoords="offset points", color=color, va="center", fontsize=8.5
    )


# ---- the network of the article: values forward, error backward ---------------------------------

PLACES = {"x0": (0, 1.1), "x1": (0, -1.1), "h0": (2.4, 1.1), "h1": (2.4, -1.1), "y": (4.8, 0)}
PLACES["L"] = (6.5, 0)
RADIUS = 0.45


def node(axes, place, top, bottom, color, fill):
    x, y = PLACES[place]
    axes.add_patch(Circle((x, y), RADIUS, facecolor=fill, edgecolor=color, lw=1.6, zorder=3))
    axes.text(x, y + 0.13, top, ha="center", va="center", fontsize=8.5, color=FAINT, zorder=4)
    axes.text(
        x, y - 0.1, bottom, ha="center", va="center", fontsize=8, weight="bold", color=INK, zorder=4
    )


def signed(value, digits=4):
    """A number with a real minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def arrow(axes, start, end, width, color, label, at=0.5, aside=0.0, back=False):
    (x0, y0), (x1, y1) = PLACES[start], PLACES[end]
    length = np.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    gap = RADIUS + 0.06
    ends = [(x0 + gap * ux, y0 + gap * uy), (x1 - gap * ux, y1 - gap * uy)]
    axes.add_patch(
        FancyArrowPatch(
            *(ends[::-1] if back else ends),
            arrowstyle=f"-|>,head_width={2.4 + 0.45 * width},head_length={4 + 0.6 * width}",
            mutation_scale=1, lw=width, color=color, shrinkA=0, shrinkB=0, zorder=2,
        )
    )  # fmt: skip
    axes.text(
        x0 + at * (x1 - x0), y0 + at * (y1 - y0) + aside, label, ha="center", va="center",
        fontsize=8.5, color=color, zorder=5,
        bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1.2},
    )  # fmt: skip


EDGES = [  # from, to, which element of which weight, where along and beside it its label stands
    ("x0", "h0", ("W1", 0, 0), 0.5, 0), ("x0", "h1", ("W1", 0, 1), 0.34, 0),
    ("x1", "h0", ("W1", 1, 0), 0.34, 0), ("x1", "h1", ("W1", 1, 1), 0.5, 0),
    ("h0", "y", ("W2", 0, 0), 0.56, 0.33), ("h1", "y", ("W2", 1, 0), 0.56, -0.33),
]  # fmt: skip


def backflow(results):
    """Left the values of the forward pass, right the gradients of the backward pass."""
    t = results["backflow"]
    figure, (forward, backward) = panels(2, width=10.4, height=3.3)
    for axes in (forward, backward):
        axes.set(xlim=(-0.6, 7.1), ylim=(-2.15, 1.75), aspect="equal")
        axes.axis("off")
    inner = {"x0": ("x", 0), "x1": ("x", 1), "h0": ("h", 0), "h1": ("h", 1), "y": ("y", 0)}
    labels = {"x0": "$x_1$", "x1": "$x_2$", "h0": "$h_1$", "h1": "$h_2$", "y": r"$\hat y$"}
    for place, (name, i) in inner.items():
        value = t[name]["value"][i]
        shown = f"{value:.1f}" if name == "x" else f"{value:.4f}"
        node(forward, place, labels[place], shown, BLUE, "#eaf3fa")
    node(forward, "L", "loss", f"{t['loss']['value']:.4f}", INK, "#f1efe9")
    for start, end, (name, i, j), at, aside in EDGES:
        weight = t[name]["value"][i][j]
        arrow(forward, start, end, 0.8 + 3 * weight, BLUE, f"{weight:.1f}", at, aside)
    arrow(forward, "y", "L", 1.4, BLUE, "")
    forward.set_title("Forward: a prediction, and how wrong it is", color=BLUE, weight="bold")
    forward.text(
        3.25, -2.05, r"$\hat y$ should be 1;  loss $= (\hat y - 1)^2$", ha="center", color=FAINT
    )

    errors = {"h0": ("z1", 0), "h1": ("z1", 1), "y": ("z2", 0)}
    for place in ("x0", "x1"):
        node(backward, place, labels[place], f"{t['x']['value'][int(place[1])]:.1f}", FAINT, CARD)
    for place, (name, i) in errors.items():
        node(backward, place, "error", signed(t[name]["gradient"][i]), ORANGE, "#fdf0e6")
    node(backward, "L", "loss", f"{t['loss']['value']:.4f}", INK, "#f1efe9")
    for start, end, (name, i, j), at, aside in EDGES:
        slope = t[name]["gradient"][i][j]
        width = 0.8 + 50 * abs(slope)
        arrow(backward, start, end, width, ORANGE, signed(slope), at, aside, back=True)
    arrow(backward, "y", "L", 0.8 + 50 * abs(t["z2"]["gradient"][0]), ORANGE, "", back=True)
    backward.set_title("Backward: how much each weight is responsible", color=ORANGE, weight="bold")
    backward.text(
        3.25, -2.05, "on each arrow: by how much the loss changes with that weight",
        ha="center", color=FAINT,
    )  # fmt: skip
    return figure


# ---- the problems -------------------------------------------------------------------------------

KINDS = {
    "sigmoid": ORANGE,
    "ReLU, He initialisation": BLUE,
    "sigmoid, batch norm": GREEN,
    "sigmoid, skip connections": PURPLE,
}


def vanishing(results):
    runs = results["vanishing"]
    figure, (norms, losses) = panels(2)
    for kind, color in KINDS.items():
        run = runs[kind]
        layers = np.arange(1, len(run["norms"]) + 1)
        norms.semilogy(layers, run["norms"], color=color, marker="o", ms=3)
        epochs = np.arange(1, len(run["losses"]) + 1)
        losses.plot(epochs, run["losses"], color=color, label=kind)
    norms.set(title="Norm of the gradient, layer by layer", xlabel="layer (1 is the first)")
    norms.set_xticks([1, 5, 10, 15, 20])
    losses.set(title="Training loss", xlabel="epoch", ylim=(0, None))
    losses.legend(frameon=False, fontsize=8.5, loc="upper right", bbox_to_anchor=(1, 0.75))
    return figure


RUNS = {
    "weights twice too large": ORANGE,
    "gradient clipping": PURPLE,
    "He initialisation": BLUE,
    "lower learning rate": GREEN,
}


def exploding(results):
    runs = results["exploding"]
    figure, (norms, losses) = panels(2)
    for name, color in (("weights twice too large", ORANGE), ("He initialisation", BLUE)):
        layers = np.arange(1, len(runs[name]["layers"]) + 1)
        norms.semilogy(layers, runs[name]["layers"], color=color, marker="o", ms=3)
        named(norms, layers[3], runs[name]["layers"][3], name, color, dx=8, dy=10)
    norms.set(title="The error on its way back", xlabel="layer (1 is the first)")
    norms.set_ylabel("norm of the gradient at its output")
    per_epoch = 22
    for name, color in RUNS.items():
        steps = [v for v in runs[name]["losses"] if v is not None]
        if len(steps) < len(runs[name]["losses"]):  # stopped being numbers
            losses.semilogy(np.arange(1, len(steps) + 1) / per_epoch, steps, color=color)
            losses.plot(len(steps) / per_epoch, steps[-1], "x", color=color, ms=9, mew=2)
            named(losses, len(steps) / per_epoch, steps[-1], f"{name}: NaN", color, dx=9)
            continue
        means = np.reshape(steps, (-1, per_epoch)).mean(axis=1)
        losses.semilogy(np.arange(1, len(means) + 1), means, color=color, label=name)
    losses.set(title="Training loss", xlabel="epoch")
    losses.legend(frameon=False, fontsize=8.5, loc="upper right", bbox_to_anchor=(1, 0.8))
    return figure


CURES = {
    "nothing": ORANGE,
    "dropout": BLUE,
    "weight decay": GREEN,
    "augmentation": PURPLE,
    "all three": INK,
}


def overfitting(results):
    runs = results["overfitting"]
    figure, (memory, cures) = panels(2)
    train, _, valid, _ = runs["nothing"]["curves"]
    epochs = np.arange(1, len(train) + 1)
    memory.plot(epochs, train, color=GREY)
    memory.plot(epochs, valid, color=ORANGE)
    low = int(np.argmin(valid))
    memory.plot(epochs[low], valid[low], "o", color=ORANGE, ms=6)
    memory.annotate(
        "stop here", (epochs[low], valid[low]), (26, -20), textcoords="offset points",
        color=ORANGE, fontsize=8.5, arrowprops={"arrowstyle": "-", "color": ORANGE, "lw": 0.8},
    )  # fmt: skip
    named(memory, epochs[-1], valid[-1], "the 400 it has not seen", ORANGE, dx=-118, dy=12)
    named(memory, epochs[-1], train[-1], "the 100 it learns from", GREY, dx=-112, dy=9)
    memory.set(title="No cure: the loss", xlabel="epoch", ylim=(0, 1.5))
    for name, color in CURES.items():
        curve = runs[name]["curves"][2]
        cures.plot(epochs, curve, color=color, label=name, lw=1.5)
    cures.set(title="The loss on the 400 unseen ones", xlabel="epoch", ylim=(0.2, 1.2))
    cures.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper right")
    return figure


# ---- descent and optimisers -----------------------------------------------------------------

RATES = {"too low": GREEN, "about right": BLUE, "too high": ORANGE}
SIZES = {"stochastic": PURPLE, "mini-batch": BLUE, "batch": GREEN}


def contours(axes, across, down, height, levels):
    across, down = np.meshgrid(np.linspace(*across, 60), np.linspace(*down, 60))
    axes.contour(across, down, height(across, down), levels=levels, colors="#d9d5cb", linewidths=1)


def descent(results):
    runs = results["descent"]
    figure, (surface, losses) = panels(2)
    x, y = (t[:, 0].numpy().astype(np.float64) for t in TOLD["example"]("descent")["points"]())

    def height(slope, offset):
        error = slope[..., None] * x + offset[..., None] - y
        return (error**2).mean(axis=-1)

    contours(surface, (-1.2, 4.2), (-4.2, 3.2), height, [0.4, 1, 2, 4, 7, 11, 16, 22])
    for name, color in RATES.items():
        slope, offset = np.transpose(runs["rates"][name])
        surface.plot(slope, offset, color=color, marker="o", ms=3.5, lw=1.3, label=name)
    surface.set(title="The loss as a landscape", xlabel="slope", ylabel="offset")
    surface.set(xlim=(-1.2, 4.2), ylim=(-4.2, 3.2))
    surface.legend(frameon=False, fontsize=8.5, loc="lower right", title="learning rate")
    for name, color in SIZES.items():
        seen, loss = np.transpose(runs["sizes"][name])
        marker = "o" if name == "batch" else None
        losses.semilogy(seen, loss, color=color, marker=marker, ms=4, lw=1.4, label=name)
    losses.set(title="The loss by what has been looked at", xlabel="samples seen", ylim=(0.1, 10))
    losses.legend(frameon=False, fontsize=8.5, loc="center", bbox_to_anchor=(0.36, 0.46))
    return figure


OPTIMIZERS = {"SGD": ORANGE, "SGD, momentum": GREEN, "RMSprop": PURPLE, "Adam": BLUE}


def optimizers(results):
    runs = results["optimizers"]
    figure, (surface, losses) = panels(2)
    contours(surface, (-4.6, 1.6), (-1.4, 1.4), lambda a, b: (a**2 + 25 * b**2) / 2,
             [0.3, 1.2, 3, 6, 10, 15, 21])  # fmt: skip
    for name, path in runs["valley"].items():
        first, second, _ = np.transpose(path)
        surface.plot(first, second, color=OPTIMIZERS[name], marker="o", ms=3, lw=1.3, label=name)
    surface.plot(0, 0, "+", color=INK, ms=10)
    surface.set(title="Through a narrow valley, 40 steps", xlabel="$w_1$", ylabel="$w_2$")
    surface.legend(frameon=False, fontsize=8.5, loc="lower left", ncols=3)
    for name, curve in runs["digits"].items():
        epochs = np.arange(1, len(curve) + 1)
        losses.semilogy(epochs, curve, color=OPTIMIZERS[name], marker="o", ms=3, label=name)
    losses.set(title="Training loss on handwritten digits", xlabel="epoch")
    losses.legend(frameon=False, fontsize=8.5)
    return figure


# ---- convolution --------------------------------------------------------------------------------

KERNELS = {
    "left to right": [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]],
    "top to bottom": [[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]],
}


def pixels(axes, image, limit, title, cmap):
    axes.pcolormesh(image[::-1], cmap=cmap, vmin=limit[0], vmax=limit[1], edgecolors=CARD, lw=0.6)
    axes.set(aspect="equal")
    axes.set_title(title, loc="center", fontsize=9.5)
    axes.axis("off")


def convolution(results):
    """A digit of the bundled set, and what two kernels that look for edges say about it."""
    image = cf.data.load_digits().features[0:1]
    figure, axes = panels(3, width=7.2, height=2.6)
    pixels(axes[0], image[0, 0].numpy(), (0, 1), "8 x 8 pixels", "Greys")
    for panel, (name, kernel) in zip(axes[1:], KERNELS.items(), strict=True):
        found = cf.nn.functional.conv2d(image, cf.tensor([[kernel]]), padding=1)[0, 0].numpy()
        pixels(panel, found, (-4, 4), f"darker from {name}?", "PuOr_r")
    return figure


FIGURES = {
    figure.__name__: figure
    for figure in (backflow, descent, optimizers, vanishing, exploding, overfitting, convolution)
}


def main(folder=None):
    results = TOLD["load"]()
    with mpl.rc_context(STYLE):
        for name, draw in FIGURES.items():
            figure = draw(results)
            if folder:
                figure.savefig(Path(folder) / f"{name}.png", dpi=110)
                continue
            figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:2])
