# Pinned by tag. For a release pin by digest as well, so that the same source makes the same image:
#   docker buildx imagetools inspect node:24-bookworm-slim --format '{{.Manifest.Digest}}'
# and write node:24-bookworm-slim@sha256:... in both stages. Node 24 is the newest line with long-term support that
# Postern is tested on; Node 20 still works and gets no security fixes any more.
FROM node:24-bookworm-slim AS build
WORKDIR /app
# The manifests first: a change of the sources keeps the layer of the packages.
COPY package.json package-lock.json ./
# No package may run code at installation; none of the runtime packages wants to.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build \
 && npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
 && find node_modules -type d -empty -delete \
 && rm dist/.tsbuildinfo

FROM node:24-bookworm-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="postern" \
      org.opencontainers.image.description="A reverse-proxy security sidecar: mutual TLS, token binding, scopes and OAuth flow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/node:24-bookworm-slim"
ENV NODE_ENV=production \
    POSTERN_CONFIG=/etc/postern/policies.yaml
WORKDIR /app
# Owned by root and read by everybody: the process can change nothing of itself.
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY --from=build /app/package.json ./package.json
COPY LICENSE ./LICENSE
# What is in here, as CycloneDX, for scanners; a test holds it against the lock file.
COPY sbom.cdx.json ./sbom.cdx.json
# A number, because `runAsNonRoot` of Kubernetes cannot look names up.
USER 65532:65532
# Mount the policy and the files it names at /etc/postern. Nothing is written, so the root file system may be read-only.
EXPOSE 8443 9464
STOPSIGNAL SIGTERM
# Asks the admin address of the policy. A sidecar that drains is unready, and that is what it should say.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "/app/dist/main.js", "healthcheck"]
# Exec form: Node is process 1 and gets SIGTERM itself.
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve"]
