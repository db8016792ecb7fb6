"""Unpacks the wheels below one folder into another, which PYTHONPATH puts before the image's own packages.

A module of a wheel that the image has too would replace the tested one, so it is refused, and nothing is unpacked.
Runs in the adapter's image, before the adapter starts. The standard library is enough.
"""

import pathlib
import sys
import zipfile
from importlib.util import find_spec


def modules(names):
    """The modules in a wheel, by dotted name; its metadata are none."""
    for name in names:
        *folders, file = name.split("/")
        if (folders and folders[0].endswith((".dist-info", ".data"))) or not file:
            continue
        if file == "__init__.py":
            yield ".".join(folders)
        elif file.endswith((".py", ".so")):
            yield ".".join([*folders, file.split(".")[0]])


def hidden(module):
    """The module or package of the image that this module of a wheel would hide, or None.

    A package without `__init__.py` (a namespace) hides nothing: Python looks into all of its folders.
    """
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = find_spec(name)
        if spec is None:
            return None
        if spec.origin is not None or name == module:
            return name
    return None


def main(wheels, target):
    """Unpack all wheels, or exit with a sentence on standard error."""
    brought = {}
    paths = sorted(pathlib.Path(wheels).rglob("*.whl"))
    if not paths:
        sys.exit("The images of plugins.wheels hold no wheel below their path. Correct plugins.wheels[].path.")
    for path in paths:
        for module in modules(zipfile.ZipFile(path).namelist()):
            if hidden(module):
                sys.exit(
                    f"{path.name} brings {hidden(module)}, which the adapter's image already has. Leave out wheels of "
                    "packages that the image has (pip wheel --no-deps), or build an image of your own."
                )
            if module in brought:
                sys.exit(f"{path.name} and {brought[module]} both bring {module}. Leave one of them out.")
            brought[module] = path.name
    for path in paths:
        zipfile.ZipFile(path).extractall(target)
        print("unpacked", path.name)


main(*sys.argv[1:])
