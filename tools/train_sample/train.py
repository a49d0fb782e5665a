"""How was the sample trained? Next-token loss plus the MTP loss, within a given time.

    train.py CORPUS --work DIR --minutes 45

writes DIR/tokenizer.json, DIR/last.pt and DIR/best.pt (the least held-out loss so far); export.py
makes a checkpoint folder of either at any time. The learning rate follows the clock, so the run
ends well annealed however busy the machine is. With --resume the weights of an earlier run are
trained on (its tokenizer must come from the same corpus and size).
"""
import argparse
import json
import os
import time

# Threads that spin while they wait ruin a machine on which other programs run.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import bpe
import corpus
import muon
import network as net

MTP_LOSS_WEIGHT = 0.3
TOKENS_PER_STEP = 4096
# Row lengths and how often each is drawn: mostly short rows, some as long as the context.
LENGTHS, SHARES = (256, 512, 1024, 2048), (0.62, 0.25, 0.10, 0.03)


def losses(network, rows, dtype):
    """Mean main and MTP losses of rows [count, T + 2]."""
    logits, h = network(rows[:, :-2], dtype)
    main = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:-1].flatten())
    drafts = network.draft(rows[:, 1:-1], h)
    return main, F.cross_entropy(drafts.flatten(0, 1), rows[:, 2:].flatten())


@torch.no_grad()
def heldout_loss(network, windows, dtype=torch.bfloat16):
    network.eval()
    total = sum(F.cross_entropy(network(w[:, :-1], dtype)[0][0], w[0, 1:], reduction="sum")
                for w in windows)
    network.train()
    return total.item() / sum(w.shape[1] - 1 for w in windows)


def rate(done):
    """Learning-rate factor when a share `done` of the time has passed."""
    return min(1.0, done / 0.01 + 0.05) * min(1.0, (1 - done) / 0.6 + 0.02)


def save(path, network, config, facts):
    torch.save({"config": config, "state": network.state_dict(), "facts": facts}, path + ".new")
    os.replace(path + ".new", path)


def prepare_tokenizer(train_text, vocab_size, path):
    with open(path, "w", encoding="utf-8") as out:
        merges = bpe.learn_merges(train_text, vocab_size)
        json.dump(bpe.tokenizer_json(merges), out, ensure_ascii=False, indent=1)
    return Tokenizer.from_file(path)


def prepare_network(config, args):
    """The network to train, and the facts of the run before (zeros for a new one)."""
    network = net.Network(config)
    facts = {"step": 0, "tokens": 0, "seconds": 0}
    if args.resume:
        saved = torch.load(args.resume, weights_only=True)
        network.load_state_dict(saved["state"])
        facts = saved["facts"]
    network.set_dropout(args.dropout)
    return network, facts


def train_step(network, optimizers, rows, share, bias_step):
    """One batch; learning rates at `share` of their full values. -> [main, MTP] losses, tokens."""
    length = int(rows.random.choice(LENGTHS, p=SHARES))
    batch = rows.batch(TOKENS_PER_STEP // length, length + 2)
    main, mtp = losses(network, batch, torch.bfloat16)
    (main + MTP_LOSS_WEIGHT * mtp).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * share
        optimizer.step()
        optimizer.zero_grad()
    for router in network.routers():
        router.balance(bias_step * share)
    return torch.stack([main.detach(), mtp.detach()]), batch.numel()


def train(args):
    train_text, heldout_text = corpus.split(corpus.read(args.corpus))
    tokenizer = prepare_tokenizer(train_text, args.vocab_size,
                                  os.path.join(args.work, "tokenizer.json"))
    windows = corpus.windows(heldout_text, tokenizer, 512)
    rows = corpus.Rows(train_text, tokenizer, args.seed)
    torch.manual_seed(args.seed)
    config = net.sample_config(args.vocab_size)
    network, facts = prepare_network(config, args)
    optimizers = muon.make_optimizers(network, args.muon_lr, args.adam_lr, args.weight_decay)
    print(f"{sum(p.numel() for p in network.parameters())} parameters", flush=True)

    start, seconds_before = time.time(), facts["seconds"]
    done, best, mean = 0.0, float("inf"), None
    while done < 1:
        done = min(1.0, (time.time() - start) / (60 * args.minutes))
        now, tokens = train_step(network, optimizers, rows, rate(done), args.bias_step)
        facts = {**facts, "step": facts["step"] + 1, "tokens": facts["tokens"] + tokens,
                 "seconds": round(seconds_before + time.time() - start)}
        mean = now if mean is None else mean.lerp(now, 0.05)
        if facts["step"] % args.every == 0 or done == 1:
            heldout = heldout_loss(network, windows)
            busiest = max((r.load.max() / r.load.float().mean()).item()
                          for r in network.routers())
            print(f"step {facts['step']}  {facts['seconds']} s  main {mean[0]:.3f}  "
                  f"mtp {mean[1]:.3f}  held-out {heldout:.4f}  busiest expert {busiest:.2f}",
                  flush=True)
            facts.update(train_loss=mean[0].item(), heldout_loss=heldout)
            save(os.path.join(args.work, "last.pt"), network, config, facts)
            if heldout < best:
                best = heldout
                save(os.path.join(args.work, "best.pt"), network, config, facts)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="plain text of speeches")
    parser.add_argument("--work", required=True, help="folder for the tokenizer and checkpoints")
    parser.add_argument("--resume", help="best.pt or last.pt of an earlier run")
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--dropout", type=float, default=0.15)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=0.003)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--bias-step", type=float, default=0.005)
    parser.add_argument("--every", type=int, default=50, help="steps between two judgements")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.makedirs(args.work, exist_ok=True)
    train(args)


if __name__ == "__main__":
    main()
