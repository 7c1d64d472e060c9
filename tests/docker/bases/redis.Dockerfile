# Stands in for redis:7 where no image registry is reachable: Debian 12's Redis 7.0 and redis-cli, the same user, folder and
# command.
FROM debian:bookworm-slim
# The package would start a service.
RUN printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod a+x /usr/sbin/policy-rc.d && \
    apt-get -qq update && \
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends redis-server util-linux >/dev/null && \
    rm -rf /var/lib/apt/lists/* && \
    install -d -o redis -g redis /data
COPY redis-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /data
WORKDIR /data
ENTRYPOINT ["docker-entrypoint.sh"]
EXPOSE 6379
CMD ["redis-server"]
