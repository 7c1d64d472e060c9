#!/bin/bash
# The images, in a Docker engine of its own, which only root can start.
cd "$(dirname "$0")/../.." && exec tests/docker/with-engine tools/test-images.sh
