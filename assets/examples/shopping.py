#!/usr/bin/env python3
"""Answers "add milk", "list" and "done milk": a shopping list for each conversation."""

import json
import os
import pathlib
import sys

message = json.load(sys.stdin)
word, _, rest = message["text"].strip().partition(" ")

# What Perch starts works in a folder that is gone afterwards: keep things elsewhere.
folder = pathlib.Path(os.environ["HOME"], ".local", "share", "shopping")
folder.mkdir(parents=True, exist_ok=True)
file = folder / (message["room"]["token"] + ".json")
items = json.loads(file.read_text()) if file.exists() else []

match word.lower():
    case "add" if rest:
        items.append(rest)
        print(f"{rest} is on the list.")
    case "done" if rest in items:
        items.remove(rest)
        print(f"{rest} is done.")
    case "list":
        print("\n".join(f"- {item}" for item in items) or "Nothing is on the list.")
    case _:
        sys.exit()  # what is not printed is not answered

# A message can come twice, after a crash: written whole or not at all.
draft = file.with_suffix(".new")
draft.write_text(json.dumps(items))
draft.replace(file)
