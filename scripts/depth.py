"""Figures of docs/depth.md, as SVG, from docs/depth.json.

python3 scripts/depth.py FOLDER   adds what `cargo bench --bench depth` printed (FOLDER/*.jsonl) to docs/depth.json
python3 scripts/depth.py          draws docs/depth-*.svg
"""
import json
import pathlib
import sys

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333", "#8b5a2b",
           "#7f3fbf"]


CONVERSATIONS = {
    "gt1-lr4e-3-b2.95-s1": "1 block, β₂ 0.95",
    "gt1-lr4e-3-b2.999-s1": "1 block, β₂ 0.999",
    "gt2-lr4e-3-s1": "2 blocks, β₂ 0.95",
    "gt2-lr2e-3-s1": "2 blocks, β₂ 0.95, lr 2e-3",
    "gt2-lr4e-3-b2.999-s1": "2 blocks, β₂ 0.999",
    "gt2-lr4e-3-b2.999-s2": "2 blocks, β₂ 0.999, seed 2",
    "gt2-lr4e-3-b2.999-s3": "2 blocks, β₂ 0.999, seed 3",
    "mamba5-lr4e-3-b2.999-s1": "Mamba-2 alone, β₂ 0.999",
    "rwkv2-lr4e-3-b2.999-s1": "RWKV-6 alone, β₂ 0.999",
}
LONGER = {
    f"{model}-8M-b2.999-s{seed}": f"{label}, seed {seed}"
    for model, label in (("gt2", "2 blocks"), ("mamba5", "Mamba-2"), ("rwkv2", "RWKV-6"))
    for seed in (1, 2, 3, 4, 5, 6)
}
MQAR = {
    f"mqB-{model}-lr4e-3-b.{beta}-s1": f"{label}, β₂ 0.{beta}"
    for beta in ("95", "999")
    for model, label in (("groundthink-1", "1 block"), ("groundthink-2", "2 blocks"), ("groundthink-3", "3 blocks"))
}
FIGURES = [
    ("depth-loss", "valid", "Conversations: held-out loss", "nats per token", (0.7, 1.2), [(0.80, "")], CONVERSATIONS),
    ("depth-recalled", "recalled", "Conversations: what having read a value is worth", "nats per value",
     (0, 1.25), [(0.5, "tokens to recall")], CONVERSATIONS),
    ("depth-longer", "recalled", "Conversations, 8 million tokens: what having read a value is worth", "nats per value",
     (0, 2.75), [(0.5, "tokens to recall"), (1.386, "ln 16 / 2")], LONGER),
    ("depth-mqar", "share", "Associative recall, seed 1", "questions answered", (0, 1), [(0.5, "")], MQAR),
]


def collect(folder):
    runs = []
    for path in sorted(pathlib.Path(folder).glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        looks = [line for line in lines if "tokens" in line]
        keys = [k for k in ("tokens", "valid", "new", "seen", "far", "rival", "share") if looks and k in looks[0]]
        rows = [[round(look[k], 3) for k in keys] for look in thin(looks, keys)]
        args = lines[0]["args"]
        runs.append({"name": path.stem, "args": args, "parameters": lines[0]["parameters"], "keys": keys, "rows": rows})
    new = {run["name"] for run in runs}
    runs += [run for run in json.loads((DOCS / "depth.json").read_text()) if run["name"] not in new]
    runs.sort(key=lambda run: run["name"])
    text = ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs)
    (DOCS / "depth.json").write_text(f"[\n{text}\n]\n")


def thin(looks, keys):
    """Of conversations the means of looks 76,800 tokens apart at least, so that runs are looked at alike."""
    if "seen" not in keys:
        return looks
    kept, group = [], []
    for look in looks:
        group.append(look)
        if look["tokens"] - (kept[-1]["tokens"] if kept else 0) >= 76_800 or look is looks[-1]:
            mean = {k: sum(one[k] for one in group) / len(group) for k in keys}
            kept.append({**mean, "tokens": look["tokens"]})
            group = []
    return kept


def chart(name, title, curves, ylabel, ylim, lines=()):
    """A figure: curves are (label, colour, dash, [(tokens in millions, value), …])."""
    width, height, left, right, top, bottom = 760, 400, 60, 235, 34, 44
    most = max(x for *_, points in curves for x, _ in points)
    low, high = ylim
    sx = lambda x: left + (width - left - right) * x / most
    sy = lambda y: top + (height - top - bottom) * (high - min(max(y, low), high)) / (high - low)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
           f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
           f'<text x="{left}" y="20" font-size="14">{title}</text>']
    for i in range(6):
        y = low + (high - low) * i / 5
        out.append(f'<line x1="{left}" x2="{width - right}" y1="{sy(y):.1f}" y2="{sy(y):.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{sy(y) + 4:.1f}" text-anchor="end">{y:.2f}</text>')
    step = 0.5 if most > 1 else 0.1
    for x in (i * step for i in range(int(most / step) + 1)):
        out.append(f'<text x="{sx(x):.1f}" y="{height - bottom + 16}" text-anchor="middle">{x:.1f}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle">million tokens</text>'
               f'<text transform="translate(14 {height / 2}) rotate(-90)" text-anchor="middle">{ylabel}</text>')
    for y, label in lines:
        out.append(f'<line x1="{left}" x2="{width - right}" y1="{sy(y):.1f}" y2="{sy(y):.1f}" stroke="#888" '
                   f'stroke-dasharray="2 3"/><text x="{left + 4}" y="{sy(y) - 4:.1f}" fill="#666">{label}</text>')
    for i, (label, colour, dash, points) in enumerate(curves):
        path = " ".join(f"{sx(x):.1f},{sy(y):.1f}" for x, y in points)
        at = top + 12 + 18 * i
        style = f'stroke="{colour}" stroke-width="2" fill="none" stroke-dasharray="{dash}"'
        out.append(f'<polyline points="{path}" {style}/>'
                   f'<line x1="{width - right + 10}" x2="{width - right + 34}" y1="{at}" y2="{at}" {style}/>'
                   f'<text x="{width - right + 40}" y="{at + 4}">{label}</text>')
    (DOCS / f"{name}.svg").write_text("\n".join(out) + "\n</svg>\n")


def curve(run, key):
    return [(row[0] / 1e6, row[run["keys"].index(key)]) for row in run["rows"]]


def recalled(run):
    """How much less a value costs that the window has than one that it has not, in nats."""
    return [(x, new - seen) for (x, new), (_, seen) in zip(curve(run, "new"), curve(run, "seen"))]


def draw():
    runs = {run["name"]: run for run in json.loads((DOCS / "depth.json").read_text())}
    for name, y, title, ylabel, ylim, lines, wanted in FIGURES:
        shown = [(label, runs[run]) for run, label in wanted.items() if run in runs]
        of = recalled if y == "recalled" else lambda run, y=y: curve(run, y)
        # Where there are many seeds, a colour a model.
        groups = [label.split(", seed")[0] if wanted is LONGER else label for label, _ in shown]
        colours = dict(zip(dict.fromkeys(groups), COLOURS * 3))
        curves = [(label, colours[group], "6 3" if "0.95" in label else "", of(run))
                  for group, (label, run) in zip(groups, shown)]
        chart(name, title, curves, ylabel, ylim, lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        collect(sys.argv[1])
    draw()
