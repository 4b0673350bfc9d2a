"""The PyTorch side of `cargo bench --bench peers`: one case a process.

Loads, warms up, says "ready", then answers each line on its input: a number n with the seconds that n
calls took, "memory" with the resident bytes after the imports and at the peak.
"""

import argparse
import contextlib
import io
import resource
import sys
import time

import torch
import torch.nn.functional as F

SIZES = {
    "smoke": dict(n_layer=2, n_head=2, d_model=64, vocab=1024, time=96, batch=4),
    "tiny": dict(n_layer=2, n_head=2, d_model=64, vocab=512, time=128, batch=8),
    "3.5M": dict(n_layer=3, n_head=4, d_model=256, vocab=50257, time=256, batch=4),
    "8M": dict(n_layer=6, n_head=6, d_model=384, vocab=50257, time=256, batch=2),
}
PREFILL, PROMPT, GENERATED = 1024, 16, 128


def tokens(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1))


def nanogpt(args, size, context):
    from model import GPT, GPTConfig

    model = GPT(GPTConfig(block_size=context, vocab_size=size["vocab"], n_layer=size["n_layer"],
                          n_head=size["n_head"], n_embd=size["d_model"], dropout=0.0, bias=True))
    for block in model.transformer.h:
        block.mlp.gelu = torch.nn.GELU(approximate="tanh")  # GPT-2's; nanoGPT has the erf form
    return model


def train(args, size):
    model = nanogpt(args, size, size["time"])
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    if args.fused:
        groups = [dict(params=g["params"], weight_decay=g["weight_decay"]) for g in optimizer.param_groups]
        optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    step_model = torch.compile(model) if args.compile else model
    data = tokens(64, size["batch"], size["time"] + 1)
    at = 0

    def step():
        nonlocal at
        batch = data[at % len(data)]
        at += 1
        _, loss = step_model(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def prefill(args, size):
    model = nanogpt(args, size, PREFILL).eval()
    run = torch.compile(model) if args.compile else model
    prompt = tokens(1, PREFILL)

    @torch.inference_mode()
    def call():
        run(prompt)

    return call


def generate(args, size):
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=size["vocab"], n_positions=PREFILL, n_embd=size["d_model"], n_layer=size["n_layer"],
        n_head=size["n_head"], resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0,
        eos_token_id=None, pad_token_id=0)).eval()
    prompt = tokens(1, PROMPT)

    @torch.inference_mode()
    def call():
        out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=GENERATED,
                             do_sample=False, use_cache=True)
        assert out.shape[1] == PROMPT + GENERATED

    return call


def recurrence(inputs, run):
    """Forward and backward over a recurrence written out step by step."""
    for x in inputs:
        x.requires_grad_(True)

    def call():
        y = run(*inputs)
        torch.autograd.grad(y, inputs, torch.ones_like(y))

    return call


def wkv6(args, size):
    b, t, n = size["batch"], size["time"], size["d_model"] // size["n_head"]
    h = size["n_head"]
    r, k, v, w = (torch.randn(b, t, h, n) for _ in range(4))
    u = torch.randn(h, n)

    def run(r, k, v, w, u):
        decay = torch.exp(-torch.exp(w))
        state, ys = torch.zeros(b, h, n, n), []
        for i in range(t):
            kv = k[:, i, :, :, None] * v[:, i, :, None, :]
            ys.append((r[:, i, :, None, :] @ (state + u[:, :, None] * kv)).squeeze(-2))
            state = decay[:, i, :, :, None] * state + kv
        return torch.stack(ys, 1)

    return recurrence([r, k, v, w, u], run)


def ssd(args, size):
    b, t, p = size["batch"], size["time"], size["d_model"] // size["n_head"]
    h, n = 2 * size["n_head"], min(size["d_model"] // 2, 128)
    x, dt = torch.randn(b, t, h, p), torch.randn(b, t, h)
    bm, cm = torch.randn(b, t, n) * 0.3, torch.randn(b, t, n) * 0.3
    a_log, bias, d = torch.randn(h), torch.randn(h), torch.randn(h)

    def run(x, dt, bm, cm, a_log, bias, d):
        step = F.softplus(dt + bias)
        decay = torch.exp(-torch.exp(a_log) * step)
        xdt = x * step[..., None]
        state, ys = torch.zeros(b, h, p, n), []
        for i in range(t):
            state = state * decay[:, i, :, None, None] + xdt[:, i, :, :, None] * bm[:, i, None, None, :]
            ys.append((state @ cm[:, i, None, :, None]).squeeze(-1))
        return torch.stack(ys, 1) + d[:, None] * x

    return recurrence([x, dt, bm, cm, a_log, bias, d], run)


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case")
    parser.add_argument("--nanogpt", default=".")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fused", action="store_true")
    args = parser.parse_args()
    kind, *_, at = args.case.split("/")
    # What is imported on first use belongs to the runtime, not to the model.
    sys.path.insert(0, args.nanogpt)
    if kind == "generate":
        import transformers.generation  # noqa: F401
        from transformers import GPT2LMHeadModel  # noqa: F401
    elif kind in ("train", "prefill"):
        import model  # noqa: F401
    toy = torch.nn.Linear(1, 1)
    toy(torch.ones(1, 1)).sum().backward()
    torch.nn.utils.clip_grad_norm_(toy.parameters(), 1.0)
    torch.optim.AdamW(toy.parameters()).step()
    baseline = resident()
    torch.manual_seed(1)
    make = dict(train=train, prefill=prefill, generate=generate, wkv6=wkv6, ssd=ssd)[kind]
    with contextlib.redirect_stdout(io.StringIO()):  # what the peers print is no answer
        work = make(args, SIZES[at])
        for _ in range(3):
            work()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(baseline, peak, flush=True)
            continue
        start = time.perf_counter()
        for _ in range(int(line)):
            work()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
