# Stands in for prefecthq/prefect:VERSION-python3.11 where no image registry is reachable: Python 3.11, Prefect, uv and tini, the
# same environment, working directory, entrypoint and user. It is Debian 12's Python, while the real image is built on python:3.11-slim.
FROM debian:bookworm-slim
RUN apt-get -qq update && \
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        ca-certificates git python3 python3-pip tini >/dev/null && \
    rm -rf /var/lib/apt/lists/* /usr/lib/python3.11/EXTERNALLY-MANAGED && \
    ln -s /usr/bin/python3 /usr/local/bin/python
ENV LC_ALL=C.UTF-8 LANG=C.UTF-8 UV_LINK_MODE=copy UV_SYSTEM_PYTHON=1 UV_COMPILE_BYTECODE=1 LD_LIBRARY_PATH=/usr/local/lib \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
COPY requirements.txt /tmp/
RUN pip install --no-cache-dir --quiet --root-user-action=ignore uv && \
    uv pip install --system --no-cache --quiet -r /tmp/requirements.txt
COPY entrypoint.sh /opt/prefect/entrypoint.sh
WORKDIR /opt/prefect
ENTRYPOINT ["/usr/bin/tini", "-g", "--", "/opt/prefect/entrypoint.sh"]
