"""`asr33 train`: a model of one's own, from random weights or from a base."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.training.loop import Report


def main(args: argparse.Namespace) -> int:
    import torch

    from model import tokenizer
    from tools.training import data, loop
    from tools.training.net import Gpt2, Shape

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    corpus = data.split(data.read_documents(args.texts), args.hold_out)
    folder = Path(args.folder); folder.mkdir(parents=True, exist_ok=True)
    tok_path = folder / "tokenizer.json"
    if tok_path.exists():
        tok = tokenizer.from_json(tok_path.read_text())
    else:
        tok = tokenizer.learn((l for x in corpus.train for l in x.splitlines(keepends=True)), args.vocabulary)
        tok_path.write_text(tok.to_json())
    ids = data.encode(corpus.train, tok)
    held = data.encode(corpus.held_out, tok)
    per_byte = len(held) / sum(len(x.encode()) for x in corpus.held_out) / 0.693147
    print(len(ids), len(held), per_byte, flush=True)
    net = Gpt2(Shape(tok.size, args.context, args.width, args.layers, args.heads))
    plan = loop.Plan(args.steps, args.minutes, args.batch, args.seed)
    for r in loop.train(net, ids, held, plan, folder / "checkpoint.safetensors"):
        if r.progress.step % 50 == 0 or r.held_out:
            print(f"step {r.progress.step} tokens {r.progress.tokens/1e6:.2f}M done {r.done:.3f} loss {r.loss:.3f} {r.tokens_per_s:.0f} tok/s "
                  + (f"held out {r.held_out:.4f} = {r.held_out*per_byte:.4f} bpb" if r.held_out else ""), flush=True)
    return 0

if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("texts", type=Path, nargs="+"); p.add_argument("--folder"); p.add_argument("--hold-out", type=lambda s: [int(x) for x in s.split(",")], default=[])
    p.add_argument("--steps", type=int); p.add_argument("--minutes", type=float); p.add_argument("--seed", type=int, default=33)
    p.add_argument("--vocabulary", type=int, default=4096); p.add_argument("--context", type=int, default=512); p.add_argument("--width", type=int, default=256)
    p.add_argument("--layers", type=int, default=5); p.add_argument("--heads", type=int, default=4); p.add_argument("--batch", type=int, default=8); p.add_argument("--threads", type=int, default=2)
    sys.exit(main(p.parse_args()))
