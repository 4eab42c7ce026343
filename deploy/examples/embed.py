"""Checks that the pages in docs/ show the files of this directory as they are; --write updates them.

A line of a page that is a link to such a file, with a colon at its end, is followed by a code block
with the text of the file. Each file must be shown once.
"""

import pathlib
import re
import sys

EXAMPLES = pathlib.Path(__file__).resolve().parent
ROOT = EXAMPLES.parent.parent
LANGUAGES = {".yaml": "yaml", ".sh": "sh", ".hcl": "hcl", "": "dockerfile"}
SHOWN = re.compile(
    r"^\[[^]]+\]\(\.\./(?P<file>deploy/examples/[^)]+)\):\n\n```(?P<language>\w*)\n(?P<text>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)


def main():
    seen, wrong = [], []

    def replace(match):
        path = ROOT / match["file"]
        seen.append(path)
        text = path.read_text()
        suffix = ".yaml" if path.name == ".sops.yaml" else path.suffix
        language = LANGUAGES.get(suffix, "ini")
        if (match["text"], match["language"]) != (text, language):
            wrong.append(f"{match['file']} differs from its code block")
        head = match.group().split("```")[0]
        return f"{head}```{language}\n{text}```\n"

    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text()
        written = SHOWN.sub(replace, text)
        if "--write" in sys.argv and written != text:
            page.write_text(written)
    files = {path for path in EXAMPLES.rglob("*") if path.is_file() and path.parent != EXAMPLES}
    files = {path for path in files if "__pycache__" not in path.parts}
    wrong += [f"{path.relative_to(ROOT)} is shown by no page" for path in sorted(files - set(seen))]
    if "--write" not in sys.argv and wrong:
        sys.exit("\n".join([*wrong, "run deploy/examples/embed.py --write"]))


main()
