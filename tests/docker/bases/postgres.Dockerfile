# Stands in for postgres:18 where no image registry is reachable: PostgreSQL 18, its user, data folder and entrypoint, and
# pg_isready and psql (Debian's 15).
FROM debian:bookworm-slim
RUN apt-get -qq update && \
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql-client util-linux >/dev/null && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 999 --home-dir /var/lib/postgresql --create-home --shell /bin/bash postgres && \
    install -d -o postgres -g postgres -m 3777 /var/run/postgresql
COPY native /usr/lib/postgresql/18
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/lib/postgresql/18/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
