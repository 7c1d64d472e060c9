"""Records what the tests know of the Terraform providers that deploy/terraform uses, from the providers themselves:

    cd deploy/terraform && terraform init && terraform providers schema -json >schema.json
    python3 tests/terraform/record_schema.py schema.json google=7.45.0 random=3.9.0

It writes provider_schema.json beside itself: of the resources that the module uses, the names, types and kinds of their
arguments and blocks, nothing else. It is run by hand, for a new resource or a newer provider; the tests need none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from module import MODULE, blocks_of

KINDS = {
    "resource": "resource_schemas",
    "data": "data_source_schemas",
    "ephemeral": "ephemeral_resource_schemas",
}


def of_provider(schemas: dict[str, Any], name: str) -> Any:
    """Terraform names a provider by its whole source address."""
    (found,) = (value for address, value in schemas.items() if address.endswith(f"/hashicorp/{name}"))
    return found


def reduced(block: dict[str, Any]) -> dict[str, Any]:
    attributes = {
        name: {key: value for key, value in sorted(attribute.items()) if not key.startswith("description")}
        for name, attribute in sorted(block.get("attributes", {}).items())
    }
    blocks = {
        name: {key: value for key, value in sorted(nested.items()) if key != "block"}
        | {"block": reduced(nested["block"])}
        for name, nested in sorted(block.get("block_types", {}).items())
    }
    return {"attributes": attributes} | ({"block_types": blocks} if blocks else {})


def main() -> None:
    schema, *versions = sys.argv[1:]
    version_of = dict(version.split("=") for version in versions)
    schemas = json.loads(Path(schema).read_text())["provider_schemas"]
    lines = []
    for kind, key in KINDS.items():
        for used in sorted({labels[0] for labels in blocks_of(MODULE, kind)}):
            provider = used.partition("_")[0]
            (block,) = (reduced(of_provider(schemas, provider)[key][used]["block"]),)
            lines.append(f"  {json.dumps(f'{kind} {used}')}: {json.dumps(block, separators=(',', ':'))}")
    Path(__file__).with_name("provider_schema.json").write_text(
        f'{{\n "source": {json.dumps(version_of)},\n "schemas": {{\n' + ",\n".join(lines) + "\n }\n}\n"
    )


if __name__ == "__main__":
    main()
