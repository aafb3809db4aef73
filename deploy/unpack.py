"""Unpacks parts of wheels into a folder: `unpack.py TARGET RULE... -- WHEEL...`.

A rule is `PREFIX=FOLDER`: what lies below PREFIX in a wheel goes to FOLDER in the target. `PREFIX=FOLDER/*` drops the folders in between
(only the file's name is kept). `!PATTERN` leaves out what matches by its whole name in the wheel. Only the standard library is used, so that any Python 3 will do.
"""

import fnmatch
import os
import shutil
import sys
import zipfile


def destination(name, rules):
    for prefix, folder in rules:
        if name.startswith(prefix) and not name.endswith("/"):
            if folder.endswith("/*"):
                return os.path.join(folder[:-2], os.path.basename(name))
            return os.path.join(folder, name[len(prefix):])
    return None


def main(arguments):
    split = arguments.index("--")
    target, rules, wheels = arguments[0], arguments[1:split], arguments[split + 1:]
    left_out = [rule[1:] for rule in rules if rule.startswith("!")]
    placed = [tuple(rule.split("=", 1)) for rule in rules if not rule.startswith("!")]

    members = []
    for wheel in wheels:
        archive = zipfile.ZipFile(wheel)
        for member in archive.infolist():
            path = destination(member.filename, placed)
            if path is None or any(fnmatch.fnmatch(member.filename, pattern) for pattern in left_out):
                continue
            members.append((archive, member, os.path.join(target, path)))

    total = sum(member.file_size for _, member, _ in members)
    done, shown = 0, -1
    for archive, member, path in members:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(member) as source, open(path, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        done += member.file_size
        percent = 100 * done // max(total, 1)
        step = 1 if sys.stderr.isatty() else 25
        if percent // step != shown:
            shown = percent // step
            end = "\r" if sys.stderr.isatty() else "\n"
            print(f"unpacking {percent:3d}% of {total >> 20} MiB", end=end, file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(f"error: cannot unpack: {error}")
