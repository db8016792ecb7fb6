"""`make charts`: writes what is generated in helm/.

The settings in values and schema, the copies of monitoring/, and the rendered examples.
"""

from __future__ import annotations

from helm.examples import RENDERED, all_examples
from helm.monitoring_files import monitoring_files
from helm.renderer import find_renderer
from helm.settings_values import SCHEMA_FILE, VALUES_FILE, schema_text, values_text


def write_all() -> None:
    """Write the files."""
    VALUES_FILE.write_text(values_text(VALUES_FILE.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA_FILE.write_text(schema_text(SCHEMA_FILE.read_text(encoding="utf-8")), encoding="utf-8")
    for source, copy in monitoring_files():
        copy.write_bytes(source.read_bytes())
    renderer = find_renderer()
    for example in all_examples():
        (example.folder / RENDERED).write_text(example.text(renderer), encoding="utf-8")


if __name__ == "__main__":
    write_all()
