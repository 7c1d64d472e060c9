# Stands in for haproxy:2.6 where no image registry is reachable: Debian 12's HAProxy 2.6, the same user, signal for a stop
# and command.
FROM debian:bookworm-slim
# The package would start a service.
RUN printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod a+x /usr/sbin/policy-rc.d && \
    apt-get -qq update && \
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends haproxy >/dev/null && \
    rm -rf /var/lib/apt/lists/* && \
    ln -s /usr/sbin/haproxy /usr/local/bin/haproxy && \
    install -d -o haproxy -g haproxy /usr/local/etc/haproxy /var/lib/haproxy
COPY haproxy-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
STOPSIGNAL SIGUSR1
USER haproxy
WORKDIR /var/lib/haproxy
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
