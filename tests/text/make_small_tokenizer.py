#!/usr/bin/env python3
"""Writes tests/golden/tokenizer_small/ and the ids in tests/golden/tokenizer_cases.json.

Usage: python3 tests/text/make_small_tokenizer.py FOLDER_WITH_DEEPSEEK_V3_TOKENIZER
The ids of every case are made anew by the published `tokenizers` package. The small tokenizer keeps
all byte symbols, the control tokens, and exactly those merges that encoding the cases applies, with
their ids: merges that never apply cannot change the outcome, so the cases give the same ids.
"""
import json
import os
import re
import sys

from tokenizers import Tokenizer

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
KEPT_PLACE_HOLDERS = (0, 1, 17, 798, 799)


def applied_merges(piece, ranks):
    """The ranks that merging one piece uses: lowest rank first, leftmost on ties."""
    symbols, used = list(piece), set()
    while len(symbols) > 1:
        found = [(ranks[pair], i) for i, pair in enumerate(zip(symbols, symbols[1:])) if pair in ranks]
        if not found:
            break
        rank, i = min(found)
        used.add(rank)
        symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
    return used


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        full = json.load(f)
    oracle = Tokenizer.from_str(json.dumps(full))
    cases_path = os.path.join(GOLDEN, "tokenizer_cases.json")
    with open(cases_path, encoding="utf-8") as f:
        cases = json.load(f)
    ranks = {tuple(line.split(" ")): i for i, line in enumerate(full["model"]["merges"])}
    added = re.compile("|".join(re.escape(t["content"]) for t in full["added_tokens"]))
    used = set()
    for case in cases:
        case["ids"] = oracle.encode(case["text"], add_special_tokens=False).ids
        # With control tokens read as text, and with them taken out.
        for text in [case["text"]] + added.split(case["text"]):
            for piece, _ in oracle.pre_tokenizer.pre_tokenize_str(text):
                used |= applied_merges(piece, ranks)
    with open(cases_path, "w", encoding="ascii") as f:
        f.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")

    small = dict(full)
    merges = [full["model"]["merges"][i] for i in sorted(used)]
    kept = {line.replace(" ", "") for line in merges}
    vocab = full["model"]["vocab"]
    small["model"] = dict(full["model"], merges=merges,
                          vocab={t: i for t, i in vocab.items() if i < 259 or t in kept})
    small["added_tokens"] = [t for t in full["added_tokens"]
                             if not 128000 <= t["id"] < 128800 or t["id"] - 128000 in KEPT_PLACE_HOLDERS]
    os.makedirs(os.path.join(GOLDEN, "tokenizer_small"), exist_ok=True)
    path = os.path.join(GOLDEN, "tokenizer_small", "tokenizer.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump(small, f, indent=0, separators=(",", ":"))
        f.write("\n")
    again = Tokenizer.from_file(path)
    for case in cases:  # by text: the package numbers added tokens anew when ids are not dense
        tokens = again.encode(case["text"], add_special_tokens=False).tokens
        assert tokens == [oracle.id_to_token(i) for i in case["ids"]], case
    print("%d cases, %d merges, %d bytes" % (len(cases), len(merges), os.path.getsize(path)))


if __name__ == "__main__":
    main()
