"""The images come with the licences of what is in the program, and with its bill of materials."""

from __future__ import annotations

import json

import docker
import pytest

from containers import Container

DOCUMENTS = "/usr/share/doc/prefect-supervisor"


@pytest.mark.parametrize("image", ["prefect-server", "prefect-worker"])
def test_the_image_has_the_notices_that_the_program_prints_and_the_bill_of_materials(
    engine: docker.DockerClient, image: str
) -> None:
    command = ["--no-token", "--health-address", "off", "--", "sleep", "600"] if image == "prefect-server" else ["sleep", "600"]
    with Container(engine, image, command) as container:
        container.wait_for_log("child: started")
        code, notices = container.run("cat", f"{DOCUMENTS}/THIRD_PARTY_NOTICES")
        assert code == 0 and "GNU LESSER GENERAL PUBLIC LICENSE" in notices
        assert container.run("prefect-supervisor", "--licenses") == (0, notices)
        code, sbom = container.run("cat", f"{DOCUMENTS}/prefect-supervisor.spdx.json")
        assert code == 0 and json.loads(sbom)["spdxVersion"] == "SPDX-2.3"
        code, licence = container.run("cat", f"{DOCUMENTS}/LICENSE")
        assert code == 0 and "Apache License" in licence
