"""Plays gcloud, kubectl, xpk and docker: writes down its arguments and does as it is told.

$STANDIN is a folder. `calls.jsonl` gets a line [name, arguments ...] for each call. `rules.json`
is a list of rules; of those whose `match` is part of the arguments the first that has not been
used up (`times`) says what to print (`out`, `err`), how long to sleep, and the exit code.
"""

import json
import os
import sys
import time

folder = os.environ["STANDIN"]
call = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open(f"{folder}/calls.jsonl", "a") as f:
    f.write(json.dumps(call) + "\n")
with open(f"{folder}/rules.json") as f:
    rules = json.load(f)
for rule in rules:
    if rule["match"] not in " ".join(call) or rule.get("times") == 0:
        continue
    if "times" in rule:
        rule["times"] -= 1
        with open(f"{folder}/rules.json", "w") as f:
            json.dump(rules, f)
    print(rule.get("out", ""), end="")
    print(rule.get("err", ""), end="", file=sys.stderr)
    sys.stdout.flush()
    time.sleep(rule.get("sleep", 0))
    sys.exit(rule.get("code", 0))
