"""A harness that reads bfcl-eval's rows, on those of a folder: `bfcl_rows.py FOLDER bfcl generate ...`.

bfcl-eval has no option for where its rows lie. Files that the folder lacks are the package's own.
"""

import sys
from importlib.metadata import entry_points
from pathlib import Path

from bfcl_eval.constants import eval_config

package, rows = eval_config.PROMPT_PATH, Path(sys.argv.pop(1)).resolve()
for file in package.rglob("*.json"):
    place = rows / file.relative_to(package)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(file)
# Before anything else of it is imported: these are constants there.
eval_config.PROMPT_PATH = rows
eval_config.POSSIBLE_ANSWER_PATH = rows / "possible_answer"
eval_config.MULTI_TURN_FUNC_DOC_PATH = rows / "multi_turn_func_doc"

sys.argv.pop(0)
(program,) = entry_points(group="console_scripts", name=sys.argv[0])
program.load()()
