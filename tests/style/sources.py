"""Rules that the compiler does not check: layers, the first line of headers, sizes, and where co_await may stand."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_LINES = 600
TOP_FOLDERS = {"supervisor", "qmp", "imaging", "netbridge", "tests", "scripts"}
# A folder's files may include from these; the three leaves do not know each other.
LAYERS = {
    "supervisor/base": ("supervisor/base",),
    "qmp": ("qmp", "supervisor/base"),
    "imaging": ("imaging", "supervisor/base"),
    "netbridge": ("netbridge", "supervisor/base"),
    "supervisor": ("supervisor", "qmp", "imaging", "netbridge"),
}
# GCC 12 destroys temporaries inside a co_await expression twice, and miscompiles it inside conditions under
# UBSan: co_await stands as a statement or initialises a name.
AWAIT_ALLOWED = re.compile(
    r"(^|[{;]|\belse|^\s*(if|while|for)\s*\(.*\)|\(void\))\s*co_await\b"  # a statement
    r"|[^=!<>]=\s*co_await\b(?![^;]*\?)"  # an initialiser or assignment
    r"|NOXSUP_CO_TRY(_VALUE)?\(.*co_await\b"
    r"|co_return\s+co_await\b"
)
# These suspend nothing.
THIS_CORO = re.compile(r"co_await\s+(boost::)?(asio::)?this_coro::\w+")
CAPTURING_LAMBDA = re.compile(r"co_await\s+[\w:.>-]+\((?:[^()]|\([^()]*\))*\[[^\]\s][^\]]*\]\s*\(")


def files(*suffixes):
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, text=True)
    names = listed.stdout.split("\n") if listed.returncode == 0 else [
        str(path.relative_to(ROOT)) for folder in TOP_FOLDERS for path in (ROOT / folder).rglob("*")]
    return [ROOT / name for name in names if name.endswith(suffixes) and (ROOT / name).is_file()]


def layer_of(name):
    return max((layer for layer in LAYERS if name.startswith(layer + "/")), key=len, default=None)


def check_includes(name, lines, problems):
    layer = layer_of(name)
    if layer is None:
        return
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if match and not match.group(1).startswith(tuple(allowed + "/" for allowed in LAYERS[layer])):
            problems.append(f"{name}:{number}: {layer} may not include {match.group(1)}")


def check_header(name, lines, problems):
    if not lines or not re.match(r"// \S.{10,}", lines[0]):
        problems.append(f"{name}:1: a header begins with a comment that says what it is for")
    if "#pragma once" not in lines:
        problems.append(f"{name}: #pragma once is missing")


def check_awaits(name, lines, problems):
    previous = ""
    for number, line in enumerate(lines, 1):
        code = THIS_CORO.sub("this_coro", line.split("//")[0])
        if re.search(r"\bco_await\b", code):
            continued = re.search(r"([=]|NOXSUP_CO_TRY\w*\(.*,?)\s*$", previous) and re.match(r"\s*co_await\b", code)
            if not AWAIT_ALLOWED.search(code) and not continued:
                problems.append(f"{name}:{number}: co_await inside an expression; name its value first")
            if CAPTURING_LAMBDA.search(code):
                problems.append(f"{name}:{number}: a capturing lambda inside a co_await expression; name it first")
        previous = code


def main():
    problems = []
    sources = files(".cpp", ".hpp")
    if not sources:
        sys.exit("no sources found")
    for path in sources:
        name = str(path.relative_to(ROOT))
        lines = path.read_text().split("\n")
        check_includes(name, lines, problems)
        if name.endswith(".hpp") and layer_of(name):
            check_header(name, lines, problems)
        check_awaits(name, lines, problems)
        if len(lines) > MAX_LINES:
            problems.append(f"{name}: {len(lines)} lines; no file has more than {MAX_LINES}")
        problems += [f"{name}:{number}: {word.group(0)}" for number, line in enumerate(lines, 1)
                     if (word := re.search(r"\b(TODO|FIXME|XXX)\b", line))]
    for path in files(".py", ".sh"):
        count = path.read_text().count("\n")
        if count > MAX_LINES:
            problems.append(f"{path.relative_to(ROOT)}: {count} lines; no file has more than {MAX_LINES}")
    strangers = {str(path.relative_to(ROOT)).split("/")[0] for path in files("") if "/" in str(path.relative_to(ROOT))}
    problems += [f"{name}/: no other folder at the top" for name in sorted(strangers - TOP_FOLDERS - {".ci"})]
    print("\n".join(problems) or f"{len(sources)} files checked")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
