"""Curves of a method's training, from the metrics that its run left."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

PANELS = (
    ("losses", ("loss", "bc_error", "td_loss")),
    ("Q", ("q_data", "q_policy", "q_random")),
    ("held-out demonstrations", ("heldout/error", "heldout/spearman", "heldout/inside")),
)
"""Title of each panel, and the metrics in it."""

Curve = Sequence[tuple[float, float]]
"""Step and value of a metric."""


def curves_png(metrics: Mapping[str, Curve]) -> str:
    """Return the curves as a data URI of a PNG image; empty if the run had none of them."""
    panels = []
    for title, names in PANELS:
        found = {name: metrics[name] for name in names if metrics.get(name)}
        if found:
            panels.append((title, found))
    if not panels:
        return ""
    from matplotlib.figure import Figure  # deferred: it takes a second

    figure = Figure(figsize=(3.4 * len(panels), 2.4), dpi=110, layout="constrained")
    for index, (title, curves) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for name, curve in curves.items():
            axes.plot(*zip(*curve, strict=True), label=name, linewidth=1.2)
        if title == "losses":
            axes.set_yscale("symlog", linthresh=1e-3)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
