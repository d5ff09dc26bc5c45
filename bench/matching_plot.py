"""Precision over recall as an SVG: run by `bench.environments` in the environment of Splink.

Reads from standard input {"panels": [{"title", "curves": [{"name", "points": [[recall, precision], ...]}]}]}
and writes the file given. A method of one point (keys know no threshold) is a mark. Imports nothing of the
project.
"""

import json
import sys
from typing import Any

COLOURS = {
    "Candor": "#0b5fa5",
    "Candor, one round": "#6baed6",
    "Splink": "#d95f02",
    "CLK, tuned": "#1b9e77",
    "CLK": "#8fd1b7",
    "published keys": "#7a3e9d",
}
LEFT, BOTTOM = 0.7, 0.85


def draw(panels: list[dict[str, Any]], out: str) -> None:
    import matplotlib as mpl  # type: ignore[import-not-found]  # lives elsewhere

    mpl.use("svg")
    # Text stays text and nothing in the file depends on the day: the same figures give the same octets.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "candor", "font.size": 9})
    import matplotlib.pyplot as plt  # type: ignore[import-not-found]  # lives elsewhere

    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.8), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        for each in panel["curves"]:
            recall, precision = zip(*each["points"], strict=True)
            style = {"marker": "D", "linestyle": ""} if len(recall) == 1 else {"linewidth": 1.5}
            axis.plot(recall, precision, label=each["name"], color=COLOURS.get(each["name"]), **style)
        axis.set(xlim=(LEFT, 1.005), ylim=(BOTTOM, 1.003), xlabel="recall", title=panel["title"])
        axis.grid(linewidth=0.3)
    axes[0][0].set_ylabel("precision")
    axes[0][-1].legend(loc="lower left", frameon=False)
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    draw(json.load(sys.stdin)["panels"], sys.argv[1])
    json.dump({"file": sys.argv[1]}, sys.stdout)
