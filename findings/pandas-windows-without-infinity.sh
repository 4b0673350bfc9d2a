#!/usr/bin/env bash
# pandas smooths an infinite loss away.
#
# Guess:  a mean over a window that holds an infinity is infinite, as Series.mean is.
# Seen:   pandas 3.1.1 takes infinity for a missing value in every window. Of the losses 1, inf, 3 the mean of an
#         expanding window is 1, 1, 2, with ewm(alpha=0.5) 1, 1, 2.6, and of the last two with min_periods=1 it is 1,
#         1, 3: no infinity is left. The maximum so far is 1, 1, 3, too, where cummax says inf from the second on.
# Matters for curves that are smoothed before anybody looks: the run that blew up has the same curve as one that had a
#         value not written down.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import math

import pandas as pd

loss = pd.Series([1.0, math.inf, 3.0])
seen = {
    "expanding mean": loss.expanding().mean(),
    "ewm mean": loss.ewm(alpha=0.5).mean().round(3),
    "rolling mean": loss.rolling(2, min_periods=1).mean(),
    "expanding max": loss.expanding().max(),
}
for name, series in seen.items():
    print(f"{name}: {series.tolist()}")
print(f"mean: {loss.mean()}, cummax: {loss.cummax().tolist()}")
assert seen["expanding mean"].tolist() == [1, 1, 2] and seen["rolling mean"].tolist() == [1, 1, 3], "it changed"
assert seen["ewm mean"].tolist()[:2] == [1, 1] and math.isfinite(seen["ewm mean"].iloc[2]), "it changed"
assert seen["expanding max"].tolist() == [1, 1, 3] and loss.mean() == math.inf, "it changed"
assert loss.cummax().tolist() == [1, math.inf, math.inf], "it changed"
missing = loss.replace(math.inf, math.nan)
assert all(series.equals(way(missing)) for series, way in zip(seen.values(), [
    lambda s: s.expanding().mean(), lambda s: s.ewm(alpha=0.5).mean().round(3),
    lambda s: s.rolling(2, min_periods=1).mean(), lambda s: s.expanding().max(),
])), "it changed"
PY
