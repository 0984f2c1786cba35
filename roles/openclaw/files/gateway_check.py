#!/usr/bin/python3 -I
"""Ask the gateway itself whether it answers. Exit 0 if it does, 1 if not.

The command's own exit code is no answer (0 also for a gateway that is down, in some versions), so its report is read.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main(executable: str) -> int:
    """Run the status command of ``executable``; the unit's TimeoutStartSec bounds it."""
    command = [executable, "gateway", "status", "--json", "--require-rpc"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    try:
        rpc = json.loads(done.stdout)["rpc"]
        good, said = rpc["ok"] is True, str(rpc.get("error") or "").partition("\n")[0]
    except (ValueError, KeyError, TypeError, AttributeError):
        good, said = False, ""
    if done.returncode == 0 and good:
        print("the gateway answers")
        return 0
    said = said or (done.stderr.strip() or done.stdout.strip() or "no output")[-400:]
    print(f"the gateway does not answer (exit code {done.returncode}): {said}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
