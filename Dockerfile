# Two images: `nats`, the server with this repository's nats.conf, and `service` (the default), the KMS with SoftHSM for
# trial. Both run as user 10001 and need no writable root.

FROM nats:2.10.27-alpine AS nats
RUN mkdir /data && chown 10001:10001 /data
COPY --chmod=0444 nats.conf /etc/chatelaine/nats.conf
COPY --chmod=0555 deploy/runNats.sh /usr/local/bin/runNats
USER 10001:10001
VOLUME /data
ENTRYPOINT ["/usr/local/bin/runNats"]

FROM node:20-bookworm AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The image has a compiler and, beside Node, its headers: pkcs11js is built without a download.
RUN npm_config_nodedir=/usr/local npm ci
COPY tsconfig.json tsconfig.build.json nats.conf ./
COPY schemas schemas
COPY projections projections
COPY src src
RUN node_modules/.bin/tsc -p tsconfig.build.json && npm prune --omit=dev

FROM node:20-bookworm-slim AS service
RUN apt-get update \
 && apt-get install -y --no-install-recommends softhsm2 \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /var/lib/chatelaine /var/lib/softhsm-trial \
 && chown 10001:10001 /var/lib/chatelaine /var/lib/softhsm-trial
WORKDIR /app
COPY --from=build /app/package.json /app/nats.conf ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY policies policies
COPY --chmod=0555 deploy/makeToken.sh /usr/local/bin/makeToken
COPY deploy/softhsm2.conf /etc/chatelaine/softhsm2.conf
ENV NODE_ENV=production KMS_CONFIG=/etc/chatelaine/config.json
USER 10001:10001
VOLUME ["/var/lib/chatelaine", "/var/lib/softhsm-trial"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/healthz', { signal: AbortSignal.timeout(2500) }).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node"]
CMD ["dist/src/main.js"]
