"""The commands of batch systems, without a queue: a job runs at once, as a process of this machine."""

import sys

SUBMIT = """#!{python}
import os, re, subprocess, sys
script = open(sys.argv[-1]).read()
if "condor" in sys.argv[0]:  # by the rules for quotes in files for condor_submit
    arguments = re.search(r'^Arguments = "(.*)"$', script, re.M)[1].replace('""', '"')
    script = re.fullmatch("-c '(.*)'", arguments)[1].replace("''", "'")
with open(os.path.join("{folder}", "jobs"), "a") as log:
    job = subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
print(f"1 job(s) submitted to cluster {{job.pid}}." if "condor" in sys.argv[0] else f"Submitted batch job {{job.pid}}")
"""
CANCEL = """#!{python}
import os, signal, sys
try:
    os.killpg(int(sys.argv[-1].partition(".")[0]), signal.SIGTERM)
except ProcessLookupError:
    pass
"""


def queue_in(folder):
    """Writes sbatch, scancel, condor_submit and condor_rm into a folder; what jobs print goes to `jobs` there."""
    for name, text in (("sbatch", SUBMIT), ("condor_submit", SUBMIT), ("scancel", CANCEL), ("condor_rm", CANCEL)):
        path = folder / name
        path.write_text(text.format(python=sys.executable, folder=folder))
        path.chmod(0o755)
    return folder
