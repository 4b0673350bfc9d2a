#!/usr/bin/env python3
"""What the compiler makes of kernels/*.cu, for docs/kernels.md: no GPU needed.

    . target/cuda-toolkit/env.sh            # scripts/cuda-toolkit.sh makes it
    scripts/cubins.py compile [KERNEL]...   # docs/kernels.json: registers, spills, loops, for each architecture
    scripts/cubins.py page                  # the table in docs/kernels.md, from that

Compiles with the options of build.rs (machine code for Hopper from its own PTX, for the others from the PTX of
compute capability 8.0, as a driver would make it) and reads the machine code with cuobjdump and nvdisasm, which
come as wheels of their own into target/cubins.
"""
import hashlib
import heapq
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "docs/kernels.json"
WORK = ROOT / "target/cubins"
WHEELS = ["nvidia-cuda-cuobjdump==13.2.51", "nvidia-cuda-nvdisasm==13.2.51"]  # there are none for 13.0
# Machine code, and the PTX that it is made of.
ARCHITECTURES = {"sm_80": "compute_80", "sm_90a": "compute_90a", "sm_100": "compute_80"}


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done


def options():
    """What build.rs gives nvcc beside architectures."""
    text = (ROOT / "build.rs").read_text()
    line = re.search(r'\.args\(\[("-fatbin"[^\]]*)\]\)', text).group(1)
    return [word.strip('"') for word in line.split(", ")]


def sources(path):
    """A kernel file, and what it includes of ours, in order of appearance."""
    found = [path]
    for name in re.findall(r'#include "(\w+\.cuh)"', path.read_text()):
        found += [part for part in sources(path.with_name(name)) if part not in found]
    return found


def digest(path):
    """Of a kernel file, what it includes and the options: tests/kernels/cubins.rs makes the same."""
    hash = hashlib.sha256()
    for part in sources(path):
        hash.update(part.read_bytes().replace(b"\r\n", b"\n"))
    hash.update(" ".join(options()).encode())
    return hash.hexdigest()


def tools():
    home = WORK / "tools"
    if not (home / "nvidia").exists():
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", home, *WHEELS,
            env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"})
    return home / "nvidia/cu13/bin"


def nvcc():
    return os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin/nvcc"


def verbose(text):
    """ptxas's own words: (architecture, kernel) to spilled bytes."""
    found, at = {}, None
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            at = (m[2], m[1])
        elif at and (m := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            found[at] = [int(m[1]), int(m[2])]
    return found


def bounds(folder):
    """Threads and blocks at a time that a kernel's launch bounds promise, from the PTX."""
    found = {}
    for path in folder.glob("*.ptx"):
        for m in re.finditer(r"\.entry (\w+)\(.*?\)(.*?)\{", path.read_text(), re.S):
            threads = re.search(r"\.maxntid (\d+)", m[2])
            blocks = re.search(r"\.minnctapersm (\d+)", m[2])
            found[m[1]] = [int(threads[1]) if threads else 0, int(blocks[1]) if blocks else 1]
    return found


KINDS = {
    "tensor": r"HMMA|[A-Z]*GMMA", "load": r"LDG|LD\.", "store": r"STG|ST\.", "copy": r"LDGSTS", "matrix": r"LDSM",
    "shared": r"LDS|STS", "local": r"LDL|STL", "special": r"MUFU", "shuffle": r"SHFL", "barrier": r"BAR",
}


def sass(nvdisasm, cubin):
    """Kernel to its instructions, (address, text), and labels to addresses."""
    kernels, name, labels, waiting = {}, None, {}, []
    for line in run(nvdisasm, "-c", cubin).stdout.splitlines():
        if m := re.match(r"\s*\.section\s+\.text\.(\w+),", line):
            name, labels, waiting = m[1], {}, []
            kernels[name] = ([], labels)
        elif m := re.match(r"(\.L\w+):", line):
            waiting.append(m[1])
        elif name and (m := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", line)):
            address = int(m[1], 16)
            labels.update((label, address) for label in waiting)
            waiting = []
            kernels[name][0].append((address, m[2]))
        elif re.match(r"\s*\.section\s", line):
            name = None
    return kernels


def mix(instructions):
    counts = {"all": len(instructions)}
    for _, text in instructions:
        opcode = re.sub(r"^@!?U?P\w+\s+", "", text)
        for kind, pattern in KINDS.items():
            if re.match(pattern, opcode) and not (kind == "load" and opcode.startswith("LDGSTS")):
                counts[kind] = counts.get(kind, 0) + 1
    return counts


def loops(instructions, labels):
    """Of the loop with most tensor-core instructions, or else with most of all, its instructions without those of inner
    loops; those of the whole kernel; and the shortest way through it."""
    found = {}
    for address, text in instructions:
        if m := re.search(r"BRA.*?`\((\.L\w+)\)", text):
            to = labels.get(m[1], address + 1)
            if to < address:
                found[to] = max(found.get(to, 0), address)
    spans = sorted(found.items(), key=lambda span: (span[0], -span[1]))
    result = []
    for start, end in spans:
        inner = [s for s in spans if s != (start, end) and start <= s[0] and s[1] <= end]
        own = [i for i in instructions if start <= i[0] <= end and not any(a <= i[0] <= b for a, b in inner)]
        result.append(mix(own))
    busiest = max(result, key=lambda loop: (loop.get("tensor", 0), loop["all"]), default=None)
    return {"loop": busiest, "once": mix(instructions), "path": path(instructions, labels)}


def path(instructions, labels, of_call=90):
    """Instructions from the entry to an end, the shortest way that passes the widest store: what a thread does that
    has whole packs to write, loops gone through once. A call, of a division for instance, counts as so many."""
    place = {address: n for n, (address, _) in enumerate(instructions)}
    opcode = [re.sub(r"^@!?U?P\w+\s+", "", text) for _, text in instructions]
    stores = [o for o in opcode if o.startswith("ST")]
    width = next((w for w in ("STG.E.128", "STG.E.64", "STG") if any(o.startswith(w) for o in stores)), "")
    best, ends, queue = {(0, False): 0}, [], [(0, 0, False)]
    while queue:
        cost, n, stored = heapq.heappop(queue)
        if n >= len(instructions) or best[n, stored] < cost:
            continue
        text = instructions[n][1]
        stored = stored or bool(width) and opcode[n].startswith(width)
        cost += of_call if opcode[n].startswith("CALL") else 1
        conditional = text.startswith("@")
        if opcode[n].startswith(("EXIT", "RET")) and not conditional:
            if stored or not width:
                ends.append(cost)
            continue
        follow = [n + 1]
        if m := re.match(r"BRA.*?`\((\.L\w+)\)", opcode[n]):
            target = place.get(labels.get(m[1]), len(instructions))
            follow = ([n + 1] if conditional or " P" in opcode[n] or "!P" in opcode[n] or ".DIV" in opcode[n] else []) + [target]
        for after in follow:
            if cost < best.get((after, stored), 1 << 60):
                best[after, stored] = cost
                heapq.heappush(queue, (cost, after, stored))
    return min(ends, default=len(instructions))


def compile_one(path):
    folder = WORK / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    fatbin = folder / (path.stem + ".fatbin")
    codes = [f"-gencode=arch={ptx},code={code}" for code, ptx in ARCHITECTURES.items()]
    done = run(nvcc(), *options(), *codes, "-Xptxas=-v", "--keep", "--keep-dir", folder, "-o", fatbin, path)
    spills, launch_bounds = verbose(done.stderr + done.stdout), bounds(folder)
    run(tools() / "cuobjdump", "-xelf", "all", fatbin.resolve(), cwd=folder)
    kernels = {}
    for code in ARCHITECTURES:
        cubin = max(folder.glob(f"*.[0-9].{code}.cubin"), key=lambda p: p.stat().st_mtime)
        usage = run(tools() / "cuobjdump", "-res-usage", cubin).stdout
        code_of = sass(tools() / "nvdisasm", cubin)
        for m in re.finditer(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage):
            threads, blocks = launch_bounds[m[1]]
            kernel = kernels.setdefault(m[1], {"threads": threads, "blocks": blocks})
            kernel[code] = {"registers": int(m[2]), "static": int(m[4]), "spills": spills.get((code, m[1]), [0, 0]),
                            **loops(*code_of[m[1]])}
    return kernels


def write(facts):
    lines = []
    for name, file in sorted(facts["files"].items()):
        kernels = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(file["kernels"].items()))
        lines.append(f'  {json.dumps(name)}: {{"digest": {json.dumps(file["digest"])}, "kernels": {{\n{kernels}\n  }}}}')
    text = ",\n".join(lines)
    FACTS.write_text(f'{{"toolkit": {json.dumps(facts["toolkit"])}, "files": {{\n{text}\n}}}}\n')


def compile_all(names):
    facts = json.loads(FACTS.read_text()) if FACTS.exists() else {"files": {}}
    facts["toolkit"] = re.search(r"release [\d.]+, V([\d.]+)", run(nvcc(), "--version").stdout)[1]
    for path in sorted((ROOT / "kernels").glob("*.cu")):
        old = facts["files"].get(path.stem, {}).get("digest")
        if names and path.stem not in names or not names and old == digest(path):
            continue
        print(path.name, flush=True)
        facts["files"][path.stem] = {"digest": digest(path), "kernels": compile_one(path)}
        write(facts)


# What a multiprocessor has: registers, in granules of a warp; threads; blocks; bytes of shared memory, of which each
# block costs 1,024 (CUDA C++ Programming Guide, "Compute Capabilities"); from sm_90 on these count as declared.
SHARED = {"sm_80": 164 << 10, "sm_90a": 228 << 10, "sm_100": 228 << 10}


def blocks_at_a_time(code, made, threads):
    """Of a kernel that asks for no more shared memory than it declares."""
    warps = -(-threads // 32)
    by_registers = 65536 // (-(-made["registers"] * 32 // 256) * 256) // warps
    reserved = 1024 if code == "sm_80" else 0
    by_shared = SHARED[code] // max(-(-(made["static"] + reserved) // 128) * 128, 128)
    return min(by_registers, by_shared, 2048 // threads, 32)


def page():
    """A row for every kernel in bfloat16."""
    rows = ["| kernel | threads | sm_80 | sm_90a | sm_100 | tensor | busiest loop | shortest way |", "|" + "---|" * 8]
    for file in json.loads(FACTS.read_text())["files"].values():
        for name, kernel in sorted(file["kernels"].items()):
            if not name.endswith("_bf16"):
                continue
            cells = []
            for code in ARCHITECTURES:
                made, threads = kernel[code], kernel["threads"] or 256
                spilt = f" ({made['spills'][0]}, {made['spills'][1]})" if any(made["spills"]) else ""
                cells.append(f"{made['registers']}{spilt} · {blocks_at_a_time(code, made, threads)}")
            made = kernel["sm_90a"]
            busiest = made["loop"]
            loop = f"{busiest.get('tensor', 0)} of {busiest['all']}" if busiest else "–"
            tensor = made["once"].get("tensor", 0) or "–"
            rows.append(f"| `{name[:-5]}` | {kernel['threads']} | {' | '.join(cells)} | {tensor} | {loop} | {made['path']} |")
    path = ROOT / "docs/kernels.md"
    before, rest = path.read_text().split("<!-- made -->\n")
    path.write_text(before + "<!-- made -->\n" + "\n".join(rows) + "\n" + rest[rest.index("<!-- end of made -->"):])


if __name__ == "__main__":
    if sys.argv[1:2] == ["compile"]:
        compile_all(sys.argv[2:])
    elif sys.argv[1:] == ["page"]:
        page()
    else:
        sys.exit(__doc__)
