"""The PyTorch side of `cargo bench --bench peers`: one case a process.

Loads, warms up, says "ready" and what it runs, or "none" and why there is nothing to compare with. Then answers
each line on its input: a number n with the seconds that n calls took, "memory" with the bytes in use before the
case was made and at the peak (resident ones on a CPU, allocated ones on a GPU). The case "ceilings" says instead
how many TFLOP/s a large matrix product reaches and how many TB/s a large copy.
"""

import argparse
import contextlib
import gc
import importlib
import importlib.util
import io
import os
import resource
import sys
import time
import traceback
import types

import torch
import torch.nn.functional as F

SIZES = {
    "smoke": dict(n_layer=2, n_head=2, d_model=64, vocab=1024, time=96, batch=4),
    "tiny": dict(n_layer=2, n_head=2, d_model=64, vocab=512, time=128, batch=8),
    "3.5M": dict(n_layer=3, n_head=4, d_model=256, vocab=50257, time=256, batch=4),
    "8M": dict(n_layer=6, n_head=6, d_model=384, vocab=50257, time=256, batch=2),
    "3.5M-1k": dict(n_layer=3, n_head=4, d_model=256, vocab=50257, time=1024, batch=4),
    "8M-1k": dict(n_layer=6, n_head=6, d_model=384, vocab=50257, time=1024, batch=32, cpu_batch=2),
    "30M-1k": dict(n_layer=12, n_head=8, d_model=512, vocab=50257, time=1024, batch=16),
    "125M-1k": dict(n_layer=12, n_head=12, d_model=768, vocab=50257, time=1024, batch=8),
    "b8-1k": dict(n_layer=12, n_head=8, d_model=512, vocab=50257, time=1024, batch=8),
}
PREFILL, PROMPT, GENERATED = 1024, 16, 128
# Inputs of an op are taken in turns from sets of so many bytes together: more than a cache holds.
ROTATED = 256e6


class Nothing(Exception):
    """Why there is no peer."""


def tokens(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1))


def finish(args):
    if args.gpu:
        torch.cuda.synchronize()


def nanogpt(args, size, context):
    from model import GPT, GPTConfig

    # nanoGPT pads its vocabulary to a multiple of 64 for a GPU's sake.
    vocab = -(-size["vocab"] // 64) * 64 if args.gpu else size["vocab"]
    model = GPT(GPTConfig(block_size=context, vocab_size=vocab, n_layer=size["n_layer"],
                          n_head=size["n_head"], n_embd=size["d_model"], dropout=0.0, bias=True))
    for block in model.transformer.h:
        block.mlp.gelu = torch.nn.GELU(approximate="tanh")  # GPT-2's; nanoGPT has the erf form
    return model.to(args.device)


def train(args, size):
    model = nanogpt(args, size, size["time"])
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), args.device)
    if args.fused and not args.gpu:  # on a GPU nanoGPT does so itself
        groups = [dict(params=g["params"], weight_decay=g["weight_decay"]) for g in optimizer.param_groups]
        optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    step_model = torch.compile(model) if args.compile else model
    data = tokens(64, size["batch"], size["time"] + 1)
    inputs, targets = data[:, :, :-1].contiguous(), data[:, :, 1:].contiguous()
    if args.gpu:
        inputs, targets = inputs.pin_memory(), targets.pin_memory()
    brief = args.dtype == torch.bfloat16
    context = torch.autocast(args.device, torch.bfloat16) if brief else contextlib.nullcontext()
    at = 0

    def step():
        nonlocal at
        x, y = (t[at % len(data)].to(args.device, non_blocking=True) for t in (inputs, targets))
        at += 1
        with context:
            _, loss = step_model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        # nanoGPT looks at the loss every ten steps, and until then a GPU works ahead.
        return loss if args.gpu else loss.item()

    return "nanoGPT", step


def prefill(args, size):
    model = nanogpt(args, size, PREFILL).eval()
    model = model.to(args.dtype)
    mode = dict(mode="reduce-overhead") if args.gpu else {}  # a graph of launches
    run = torch.compile(model, **mode) if args.compile else model
    prompt = tokens(1, PREFILL).to(args.device)

    @torch.inference_mode()
    def call():
        run(prompt)

    return "nanoGPT", call


def generate(args, size):
    from transformers import GPT2Config, GPT2LMHeadModel, StaticCache

    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=size["vocab"], n_positions=PREFILL, n_embd=size["d_model"], n_layer=size["n_layer"],
        n_head=size["n_head"], resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0,
        eos_token_id=None, pad_token_id=0)).eval()
    model = model.to(args.device, args.dtype)
    prompt = tokens(1, PROMPT).to(args.device)
    mask = torch.ones_like(prompt)

    def with_cache(**kind):
        @torch.inference_mode()
        def call():
            out = model.generate(prompt, attention_mask=mask, max_new_tokens=GENERATED, do_sample=False,
                                 use_cache=True, **kind)
            assert out.shape[1] == PROMPT + GENERATED
            return out[0, PROMPT:]

        return call

    def loop():
        """The same without what `generate` does for every token in Python."""
        cache = StaticCache(config=model.config, max_cache_len=PROMPT + GENERATED)

        def following(ids, positions):
            out = model(ids, position_ids=positions, past_key_values=cache, use_cache=True)
            return out.logits[:, -1:].argmax(-1)

        mode = dict(mode="reduce-overhead") if args.gpu else {}
        step = torch.compile(following, fullgraph=True, **mode)
        positions = torch.arange(PROMPT + GENERATED, device=args.device)[None]

        @torch.no_grad()
        def call():
            cache.reset()
            token = following(prompt, positions[:, :PROMPT])
            new = [token]
            for at in range(PROMPT, PROMPT + GENERATED - 1):
                # A graph's output is overwritten by its next run.
                token = step(token, positions[:, at:at + 1]).clone()
                new.append(token)
            return torch.cat(new, 1)[0].cpu()

        return call

    candidates = [("transformers generate", lambda: with_cache())]
    if args.compile and args.gpu:
        candidates = [("transformers generate, static cache", lambda: with_cache(cache_implementation="static"))]
    if args.compile:
        candidates.append(("transformers, static cache, compiled loop", loop))
    return fastest(args, candidates)


def fastest(args, candidates):
    """The fastest of the candidates that work; what others lack goes to stderr."""
    if len(candidates) == 1:
        name, make = candidates[0]
        return name, make()
    found, reasons = [], []
    for name, make in candidates:
        try:
            call = make()
            for _ in range(3):
                call()
            finish(args)
            start = time.perf_counter()
            for _ in range(5):
                call()
            finish(args)
            found.append((time.perf_counter() - start, name, call))
            print(f"{args.case}: {name}: {found[-1][0] / 5 * 1e3:.3f} ms", file=sys.stderr)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reason is told
            reasons.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:80]}")
            print(f"{args.case}: {reasons[-1]}", file=sys.stderr)
    if not found:
        raise Nothing("; ".join(reasons))
    _, name, call = min(found, key=lambda f: f[0])
    found.clear()
    gc.collect()
    if args.gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return name, call


def sets(args, make):
    """Inputs to take in turns: lists of tensors, all but numbers of classes wanting gradients."""
    def one():
        return [t.to(args.device).requires_grad_(t.is_floating_point()) for t in make()]

    first = one()
    size = sum(t.numel() * t.element_size() for t in first)
    count = max(1, min(8, round(ROTATED / size))) if args.gpu else 1
    return [first] + [one() for _ in range(count - 1)]


def passes(args, inputs, run):
    """Forward and backward over the input sets in turns."""
    cotangent, at = None, 0

    def call():
        nonlocal cotangent, at
        given = inputs[at % len(inputs)]
        at += 1
        y = run(*given)
        if cotangent is None:
            cotangent = torch.randn_like(y) if y.dim() else torch.ones_like(y)
        return torch.autograd.grad(y, [t for t in given if t.requires_grad], cotangent)

    return call


def like(args, tensors, reference, run):
    """That `run` is the same function as the reference, on inputs so small that it can be written out."""
    tensors = [t.to(args.device) for t in tensors]
    wide = [t.float() if t.is_floating_point() else t for t in tensors]
    expected, got = reference(*wide), run(*tensors).float()
    apart = ((got - expected).norm() / expected.norm()).item()
    if not apart < 0.03:
        raise Nothing(f"another function: {apart:.1e} apart")


def wkv6(args, size):
    h, n = size["n_head"], size["d_model"] // size["n_head"]

    def shapes(b, t):
        dtype = args.dtype
        return lambda: [torch.randn(b, t, h, n).to(dtype) for _ in range(4)] + [torch.randn(h, n)]

    def run(r, k, v, w, u):
        b, t = r.shape[:2]
        decay = torch.exp(-torch.exp(w))
        state, ys = torch.zeros(b, h, n, n, device=r.device), []
        for i in range(t):
            kv = k[:, i, :, :, None] * v[:, i, :, None, :]
            ys.append((r[:, i, :, None, :] @ (state + u[:, :, None] * kv)).squeeze(-2))
            state = decay[:, i, :, :, None] * state + kv
        return torch.stack(ys, 1)

    inputs = sets(args, shapes(size["batch"], size["time"]))
    if not args.gpu:
        return "written out", passes(args, inputs, run)

    def fla():
        from fla.ops.rwkv6 import chunk_rwkv6

        def chunked(r, k, v, w, u):
            return chunk_rwkv6(r, k, v, w, u, scale=1.0)[0]

        like(args, shapes(1, 64)(), run, lambda r, k, v, w, u: chunked(r, k, v, -torch.exp(w.float()), u))
        # It takes the logarithm of the decay, and is spared making it.
        with torch.no_grad():
            for given in inputs:
                given[3].copy_(-torch.exp(given[3]))
        return passes(args, inputs, chunked)

    return fastest(args, [("fla chunk_rwkv6", fla)])


def ssd(args, size):
    p, h, n = size["d_model"] // size["n_head"], 2 * size["n_head"], min(size["d_model"] // 2, 128)

    def shapes(b, t):
        def make():
            wide = [torch.randn(b, t, h, p), torch.randn(b, t, h)]
            wide += [torch.randn(b, t, n) * 0.3, torch.randn(b, t, n) * 0.3]
            return [x.to(args.dtype) for x in wide] + [torch.randn(h), torch.randn(h), torch.randn(h)]
        return make

    def run(x, dt, bm, cm, a_log, bias, d):
        b, t = x.shape[:2]
        step = F.softplus(dt + bias)
        decay = torch.exp(-torch.exp(a_log) * step)
        xdt = x * step[..., None]
        state, ys = torch.zeros(b, h, p, n, device=x.device), []
        for i in range(t):
            state = state * decay[:, i, :, None, None] + xdt[:, i, :, :, None] * bm[:, i, None, None, :]
            ys.append((state @ cm[:, i, None, :, None]).squeeze(-1))
        return torch.stack(ys, 1) + d[:, None] * x

    inputs = sets(args, shapes(size["batch"], size["time"]))
    if not args.gpu:
        return "written out", passes(args, inputs, run)

    def mamba():
        combined = mamba_ops().mamba_chunk_scan_combined

        def chunked(x, dt, bm, cm, a_log, bias, d):
            return combined(x, dt, -torch.exp(a_log), bm[:, :, None], cm[:, :, None], 256, D=d, dt_bias=bias,
                            dt_softplus=True)

        like(args, shapes(1, 64)(), run, chunked)
        return passes(args, inputs, chunked)

    def fla():
        from fla.ops.simple_gla import chunk_simple_gla

        def chunked(x, dt, bm, cm, a_log, bias, d):
            b, t = x.shape[:2]
            step = F.softplus(dt + bias)
            every = [m[:, :, None].expand(b, t, h, n).contiguous() for m in (cm, bm)]
            y = chunk_simple_gla(*every, (x * step[..., None]).to(x.dtype), -torch.exp(a_log) * step, scale=1.0)[0]
            return y + (d[:, None] * x).to(x.dtype)

        like(args, shapes(1, 64)(), run, chunked)
        return passes(args, inputs, torch.compile(chunked) if args.compile else chunked)

    return fastest(args, [("mamba_chunk_scan_combined", mamba), ("fla chunk_simple_gla", fla)])


def mamba_ops():
    """mamba-ssm's operations in Triton, without the package's own start, which wants compiled ones too."""
    spec = importlib.util.find_spec("mamba_ssm")
    if spec is None:
        raise Nothing("no mamba_ssm")
    if "mamba_ssm" not in sys.modules:
        package = types.ModuleType("mamba_ssm")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["mamba_ssm"] = package
    return importlib.import_module("mamba_ssm.ops.triton.ssd_combined")


def attention(args, size):
    b, t, h, d = size["batch"], size["time"], size["n_head"], size["d_model"]

    def run(qkv):
        q, k, v = (x.view(b, t, h, d // h).transpose(1, 2) for x in qkv.split(d, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(b, t, d)

    inputs = sets(args, lambda: [torch.randn(b, t, 3 * d).to(args.dtype)])
    return "scaled_dot_product_attention", passes(args, inputs, run)


def cross_entropy(args, size):
    rows, d, vocab = size["batch"] * size["time"], size["d_model"], size["vocab"]

    def make():
        h, w = torch.randn(rows, d), torch.randn(vocab, d) * 0.02
        return [h.to(args.dtype), w.to(args.dtype), torch.randint(0, vocab, (rows,))]

    def run(h, w, targets):
        return F.cross_entropy(F.linear(h, w).float(), targets)

    inputs = sets(args, make)
    candidates = [("linear, cross_entropy", lambda: passes(args, inputs, run))]
    if args.compile:
        candidates.append(("linear, cross_entropy, compiled", lambda: passes(args, inputs, torch.compile(run))))

    def fla():
        from fla.modules.fused_linear_cross_entropy import fused_linear_cross_entropy_loss as fused

        return passes(args, inputs, lambda h, w, targets: fused(h, targets, w))

    if args.gpu:
        candidates.append(("fla fused_linear_cross_entropy_loss", fla))
    return fastest(args, candidates)


def linear(args, size):
    """The products of a block of GPT-2, one behind the other."""
    rows, d = size["batch"] * size["time"], size["d_model"]
    shapes = [(d, d), (d, 4 * d), (4 * d, d), (d, 3 * d)]

    def run(x, *weights):
        for w in weights:
            x = x @ w
        return x

    inputs = sets(args, lambda: [torch.randn(*s).to(args.dtype) * 0.05 for s in [(rows, d), *shapes]])
    return "matmul", passes(args, inputs, run)


def adamw(args, size):
    """Clipping and a step over nanoGPT's parameters, the norm looked at."""
    model = nanogpt(args, size, size["time"])
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), args.device)
    if args.fused and not args.gpu:
        groups = [dict(params=g["params"], weight_decay=g["weight_decay"]) for g in optimizer.param_groups]
        optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) * 1e-6  # too small to be clipped

    def step():
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return norm.item()

    return "clip_grad_norm_, AdamW", step


def ceilings(args):
    def rate(work, amount, times):
        for _ in range(3):
            work()
        finish(args)
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            for _ in range(10):
                work()
            finish(args)
            taken.append((time.perf_counter() - start) / 10)
        return amount / sorted(taken)[times // 2] / 1e12

    n, bytes_ = (8192, 4 << 30) if args.gpu else (2048, 64 << 20)
    a, b = (torch.randn(n, n, device=args.device, dtype=args.dtype) for _ in range(2))
    c = torch.empty_like(a)
    product = rate(lambda: torch.mm(a, b, out=c), 2 * n**3, 7)
    source = torch.randint(0, 256, (bytes_,), dtype=torch.uint8, device=args.device)
    target = torch.empty_like(source)
    copy = rate(lambda: target.copy_(source), 2 * bytes_, 7)
    return product, copy


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def start_runtime(args, kind):
    """What is imported and opened on first use belongs to the runtime, not to the model."""
    if kind == "generate":
        import transformers.generation  # noqa: F401
        from transformers import GPT2LMHeadModel  # noqa: F401
    elif kind in ("train", "prefill", "adamw"):
        import model  # noqa: F401
    toy = torch.nn.Linear(1, 1).to(args.device)
    toy(torch.ones(1, 1, device=args.device)).sum().backward()
    torch.nn.utils.clip_grad_norm_(toy.parameters(), 1.0)
    torch.optim.AdamW(toy.parameters()).step()
    finish(args)
    return torch.cuda.memory_allocated() if args.gpu else resident()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case")
    parser.add_argument("--nanogpt", default=".")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fused", action="store_true")
    parser.add_argument("--bfloat16", action="store_true")
    args = parser.parse_args()
    args.gpu = args.device == "cuda"
    args.dtype = torch.bfloat16 if args.gpu or args.bfloat16 else torch.float32
    kind, *rest = args.case.split("/")
    # Answers go where stdout was; what the peers print, also from C, is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(*words):
        print(*words, file=answers, flush=True)

    if args.gpu and not torch.cuda.is_available():
        return answer("none PyTorch finds no CUDA device")
    if args.gpu:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(1)
    if kind == "ceilings":
        return answer(*ceilings(args))
    sys.path.insert(0, args.nanogpt)
    make = dict(train=train, prefill=prefill, generate=generate, wkv6=wkv6, ssd=ssd, attention=attention,
                cross_entropy=cross_entropy, linear=linear, adamw=adamw)[kind]
    try:
        baseline = start_runtime(args, kind)
        with contextlib.redirect_stdout(io.StringIO()):
            size = SIZES[rest[-1]]
            if not args.gpu:
                size = size | dict(batch=size.get("cpu_batch", size["batch"]))
            name, work = make(args, size)
            for _ in range(3):
                work()
        finish(args)
    except Exception as error:  # noqa: BLE001 - whatever it is, the reason is told
        traceback.print_exc()
        return answer("none", type(error).__name__, " ".join(str(error).split())[:200])
    answer("ready", name)
    for line in sys.stdin:
        if line.strip() == "memory":
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            answer(baseline, torch.cuda.max_memory_allocated() if args.gpu else used)
            continue
        start = time.perf_counter()
        for _ in range(int(line)):
            work()
        finish(args)
        answer(time.perf_counter() - start)


if __name__ == "__main__":
    main()
