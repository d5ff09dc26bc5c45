"""Fit the table of weights: logistic regression over named features under signs, by L-BFGS-B.

Run by `tools.training` in its own environment (numpy, scipy); imports nothing of the project. Reads JSON from
standard input: `features` (names in order), `signs` (1, -1 or 0 for each), `rows` (indexes of the features of
a pair), `true` (0 or 1), `shares` (how much a pair counts), `offsets` (bits added to the log odds, not
learnt), `ridge`.
Prints JSON: `weights` (bits of each feature), `prior` (bits), `loss` (mean bits a pair), `steps`.
"""

import json
import sys

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix


def main() -> None:
    given = json.load(sys.stdin)
    rows, count = given["rows"], len(given["features"])
    places = np.concatenate([np.asarray(row, dtype=np.int32) for row in rows])
    ends = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    design = csr_matrix((np.ones(len(places)), places, ends), shape=(len(rows), count))
    true = np.asarray(given["true"], dtype=float)
    shares = np.asarray(given["shares"], dtype=float)
    offsets = np.asarray(given["offsets"], dtype=float) * np.log(2)
    ridge = float(given["ridge"])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = design @ weights[:-1] + weights[-1] + offsets
        value = shares @ (np.logaddexp(0, odds) - true * odds) + 0.5 * ridge * weights[:-1] @ weights[:-1]
        wrong = shares * (1 / (1 + np.exp(-odds)) - true)
        slope = np.concatenate([design.T @ wrong + ridge * weights[:-1], [wrong.sum()]])
        return float(value), slope

    bounds = [{1: (0, None), -1: (None, 0), 0: (None, None)}[sign] for sign in given["signs"]]
    found = minimize(
        loss,
        np.zeros(count + 1),
        jac=True,
        method="L-BFGS-B",
        bounds=[*bounds, (None, None)],
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-12, "gtol": 1e-6},
    )
    bits = found.x / np.log(2)
    json.dump(
        {
            "weights": [float(weight) for weight in bits[:-1]],
            "prior": float(bits[-1]),
            "loss": float(found.fun) / float(shares.sum()) / float(np.log(2)),
            "steps": int(found.nit),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
