# syntax=docker/dockerfile:1
# grasp-sync in a container: docker build -t grasp-sync . (README.md, "As a container")

FROM rust:1.89.0-slim-bookworm AS rust

# The manifests, with something empty in the place of each source that they need: it changes only when dependencies may have.
FROM rust AS skeleton
WORKDIR /sources
COPY . .
RUN set -eu; mkdir /skeleton; \
    find . \( -name Cargo.toml -o -name Cargo.lock \) -exec cp --parents {} /skeleton \; ; \
    find . \( -path '*/src/lib.rs' -o -path '*/src/main.rs' -o -path '*/src/bin/*' -o -path '*/benches/*' -o -path '*/examples/*' \) \
      -name '*.rs' -exec cp --parents {} /skeleton \; ; \
    echo 'fn main() {}' > /empty.rs; \
    find /skeleton -name '*.rs' -exec cp /empty.rs {} \;

FROM rust AS build
WORKDIR /build
# Every dependency, in a layer that stays until the skeleton changes.
COPY --from=skeleton /skeleton .
RUN cargo build --release --locked --bin grasp-sync
# What was built of the skeleton's own crates is younger than the sources, and must not be taken for them.
COPY . .
RUN find . -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin grasp-sync \
    && install -D -m 755 target/release/grasp-sync /out/bin/grasp-sync \
    && install -d -m 700 /out/state/grasp-sync

# glibc, libgcc, and the certificates of public authorities; no shell. Plugins are loaded, so the binary can't be static.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/bin/ /usr/local/bin/
# 65532 is the user `nonroot` of the image.
COPY --from=build --chown=65532:65532 /out/state/ /var/lib/
USER 65532:65532
# The store is ./grasp-sync-data; the configuration is ./grasp-sync.toml or /etc/grasp-sync.toml.
WORKDIR /var/lib/grasp-sync
VOLUME /var/lib/grasp-sync
# Within the container, so that a port can be published or scraped. They override the configuration file.
ENV GRASP_SYNC_SERVICE__LISTEN=0.0.0.0:7447 \
    GRASP_SYNC_ADMIN__LISTEN=0.0.0.0:7448
EXPOSE 7447 7448
# It stops within 5 s.
STOPSIGNAL SIGTERM
# Whether the daemon answers. What it can't do at the moment, as with a full disk, a restart would not mend: /healthz says that.
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m CMD ["/usr/local/bin/grasp-sync", "status"]
ENTRYPOINT ["/usr/local/bin/grasp-sync"]
CMD ["run"]
