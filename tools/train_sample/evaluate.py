"""How good is a written checkpoint? Judges the dequantised weights on the held-out text.

Prints the loss per token and per byte, how often the MTP draft is right, the load of the
experts, and some sampled text.
"""
import argparse
import os

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import bpe
import checkpoint
import corpus


def agreement(network, window):
    """One window -> counts: places, draft = model's choice, draft = text, choice = text."""
    logits, h = network(window[:, :-1])
    choice = logits[0, 1:].argmax(-1)                      # for t_2 ..
    draft = network.draft(window[:, 1:-1], h[:, :-1])[0].argmax(-1)
    text = window[0, 2:]
    counts = [text.numel(), (draft == choice).sum(), (draft == text).sum(), (choice == text).sum()]
    loss = F.cross_entropy(logits[0], window[0, 1:], reduction="sum")
    return torch.tensor(counts), loss.item()


@torch.no_grad()
def judge(network, tokenizer, text, length):
    windows = corpus.windows(text, tokenizer, length)
    counts, loss = torch.zeros(4), 0.0
    loads = [torch.zeros(r.experts) for r in network.routers()]
    for window in windows:
        window_counts, window_loss = agreement(network, window)
        counts, loss = counts + window_counts, loss + window_loss
        loads = [load + r.load for load, r in zip(loads, network.routers())]
    tokens = sum(w.shape[1] - 1 for w in windows)
    places, draft_choice, draft_text, choice_text = counts.tolist()
    print(f"windows of {length}: {tokens} tokens, {len(text.encode())} bytes"
          f"\n  loss {loss / tokens:.4f} nats/token, {loss / len(text.encode()):.4f} nats/byte"
          f"\n  model's first choice is the text's token: {choice_text / places:.4f}"
          f"\n  MTP draft = model's first choice (acceptance): {draft_choice / places:.4f}"
          f"\n  MTP draft = the text's token: {draft_text / places:.4f}"
          f"\n  share of the busiest / idlest expert, per layer (even is 1): "
          + ", ".join(f"{load.max() / load.mean():.2f} / {load.min() / load.mean():.2f}"
                      for load in loads))


def choose(logits, temperature, top_p, generator):
    if temperature == 0:
        return logits.argmax().item()
    p, ids = (logits / temperature).softmax(-1).sort(descending=True)
    p[p.cumsum(0) - p > top_p] = 0
    return ids[torch.multinomial(p, 1, generator=generator)].item()


@torch.no_grad()
def sample(network, tokenizer, prompt, count, temperature, top_p, seed):
    """Prompt and continuation; every step runs the whole text, which is slow and simple."""
    generator = torch.Generator().manual_seed(seed)
    ids = [bpe.BOS_ID] + tokenizer.encode(prompt, add_special_tokens=False).ids
    while count > 0 and ids[-1] != bpe.EOS_ID:
        logits = network(torch.tensor([ids]))[0][0, -1]
        ids.append(choose(logits, temperature, top_p, generator))
        count -= 1
    return tokenizer.decode(ids[1:], skip_special_tokens=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="checkpoint folder")
    parser.add_argument("--corpus", help="the text of train.py; without it only samples")
    parser.add_argument("--prompt", action="append", help="may be given several times")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network = checkpoint.read(args.folder)
    tokenizer = Tokenizer.from_file(os.path.join(args.folder, "tokenizer.json"))
    if args.corpus:
        heldout = corpus.split(corpus.read(args.corpus))[1]
        for length in (512, 2047):
            judge(network, tokenizer, heldout, length)
    for prompt in args.prompt or ["ROMEO:\n"]:
        print("-" * 20)
        print(sample(network, tokenizer, prompt, args.tokens, args.temperature, args.top_p,
                     args.seed))


if __name__ == "__main__":
    main()
