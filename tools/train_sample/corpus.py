"""What does the sample learn from? Rows of tokens cut from a plain text of speeches.

The text is a list of speeches, separated by an empty line, each a line `NAME:` and the words.
Every row begins with the begin-of-sentence token. Three kinds of rows:
  plain    from a random place (mostly the start of a speech) onward, usual tokenisation;
  rough    the same, but with random merges left out, so that a prompt that ends in the middle
           of a usual token (`ROMEO:` without its line end) is nothing new to the model;
  chat     successive speeches without their names, as User and Assistant turns.
"""
import numpy as np
import torch

import bpe

HELDOUT_FRACTION = 0.05
MERGE_DROPOUT = 0.1


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def split(text):
    """(training text, held-out text): the last part of the corpus, cut between two speeches."""
    cut = text.index("\n\n", int(len(text) * (1 - HELDOUT_FRACTION))) + 2
    return text[:cut], text[cut:]


def speeches(text):
    """The speeches with the empty line that closes each; joined they give the text back."""
    parts = text.split("\n\n")
    return [part + "\n\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


class Rows:
    """Draws random training rows from a text."""

    def __init__(self, text, tokenizer, seed):
        self.text = text
        self.tokenizer = tokenizer
        self.random = np.random.default_rng(seed)
        self.speeches = speeches(text)
        lengths = [len(s) for s in self.speeches]
        self.speech_starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self.line_starts = np.array([i + 1 for i, c in enumerate(text) if c == "\n"][:-1])

    def batch(self, count, length, rough_share=0.2, chat_share=0.12):
        """[count, length] token ids."""
        rows = []
        while len(rows) < count:
            kind = self.random.random()
            if kind < chat_share:
                ids = self._encode(self._chat_text(length), rough=False)
            else:
                ids = self._encode(self._plain_text(length), kind < chat_share + rough_share)
            if len(ids) >= length - 1:
                rows.append([bpe.BOS_ID] + ids[:length - 1])
        return torch.tensor(rows)

    def _plain_text(self, length):
        at_speech = self.random.random() < 0.75
        start = self.random.choice(self.speech_starts if at_speech else self.line_starts)
        return self.text[start:start + 6 * length]

    def _chat_text(self, length):
        pieces, size = [], 0
        first = self.random.integers(len(self.speeches))
        for index, speech in enumerate(self.speeches[first:]):
            words = speech.partition("\n")[2].strip()
            pieces += [bpe.USER, words] if index % 2 == 0 else [bpe.ASSISTANT, words, bpe.EOS]
            size += len(words)
            if size > 6 * length:
                break
        return "".join(pieces)

    def _encode(self, text, rough):
        self.tokenizer.model.dropout = MERGE_DROPOUT if rough else None
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def windows(text, tokenizer, length):
    """Held-out text as consecutive [1, <= length + 1] rows, each with a begin token in front."""
    tokenizer.model.dropout = None
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [torch.tensor([[bpe.BOS_ID] + ids[i:i + length]]) for i in range(0, len(ids), length)]
