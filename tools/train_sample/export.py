"""Writes a saved training state as a checkpoint folder.

    export.py DIR/best.pt samples/models/shakespeare

The tokenizer is taken from the folder of the training state.
"""
import argparse
import json
import os

import torch

import checkpoint


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", help="best.pt or last.pt of train.py")
    parser.add_argument("folder", help="checkpoint folder to write")
    args = parser.parse_args()
    saved = torch.load(args.state, weights_only=True)
    with open(os.path.join(os.path.dirname(args.state), "tokenizer.json"), encoding="utf-8") as f:
        tokenizer_json = json.load(f)
    checkpoint.write(args.folder, saved["state"], saved["config"], tokenizer_json)
    print("trained:", saved["facts"])
    for name in sorted(os.listdir(args.folder)):
        print(f"{os.path.getsize(os.path.join(args.folder, name)):>9}  {name}")


if __name__ == "__main__":
    main()
