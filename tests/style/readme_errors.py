"""The README's table of errors is the table of supervisor/base/error.cpp. `--write` brings it up to date."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- error codes: begin -->\n", "<!-- error codes: end -->\n"
MEANING = {
    0: "it worked",
    1: "the command line or its input is wrong",
    2: "it failed",
    3: "the supervisor cannot be reached, or is of another protocol version",
    4: "there is no such VM, image or snapshot",
    5: "it exists already, is in the wrong state, in use, damaged or foreign",
    6: "QEMU lives, but the deadline passed; the VM may still be coming up",
    7: "out of disk, memory, ports or uids",
    8: "the host lacks something: KVM, QEMU, firmware, a bridge, a right, a tool",
    130: "interrupted",
}


def table():
    rows = re.findall(r'Row\{ErrorCode::\w+,\s*"([\w-]+)",\s*(\d+)\}', (ROOT / "supervisor/base/error.cpp").read_text())
    if not rows:
        sys.exit("no rows found in supervisor/base/error.cpp")
    codes = {exit_code: [] for exit_code in MEANING}
    for name, exit_code in rows:
        codes[int(exit_code)].append(f"`{name}`")
    lines = ["| exit | when | `error.code` |", "|---|---|---|"]
    lines += [f"| {exit_code} | {MEANING[exit_code]} | {', '.join(names)} |" for exit_code, names in codes.items()]
    return "\n".join(lines) + "\n"


def main():
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    current, _, after = rest.partition(END)
    if "--write" in sys.argv:
        readme.write_text(before + BEGIN + table() + END + after)
    elif current != table():
        sys.exit("README.md's table of errors is not that of supervisor/base/error.cpp; "
                 "run: python3 tests/style/readme_errors.py --write")


if __name__ == "__main__":
    main()
