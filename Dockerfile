# syntax=docker/dockerfile:1
# `docker build .`, or deploy/image, which also makes the image from a program that is built already and works with podman.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# Features that are off by default, such as otel.
ARG FEATURES=""

# Dependencies are a layer of their own: it is rebuilt only when the manifest or the lock file changes.
COPY .cargo/config.toml .cargo/config.toml
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs README.md \
    && cargo build --locked --release --features "$FEATURES" \
    && rm -r src

COPY README.md ./
COPY migrations migrations
COPY ui ui
COPY src src
# Cargo goes by time of modification, and the copied files may be older than the placeholders just built.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --locked --release --features "$FEATURES" --bin stowage \
    && strip --strip-all target/release/stowage

FROM debian:bookworm-slim AS files
# Roots of trust for object stores, databases and key servers that are reached over TLS.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# What the program needs beside itself: libraries of two packages, names of users and where hosts are looked up. Scanners
# of images read from var/lib/dpkg/status.d which versions they are.
RUN mkdir -p /image/etc/ssl/certs /image/var/lib/dpkg/status.d \
    && install -d -m 1777 /image/tmp \
    && install -d -m 700 /data /data/stowage /data/backup \
    && cp --parents --dereference /lib/*-linux-gnu/libc.so.6 /lib/*-linux-gnu/libm.so.6 /lib/*-linux-gnu/libgcc_s.so.1 /image \
    && for loader in /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.*; do \
        if [ -e "$loader" ]; then cp --parents --dereference "$loader" /image; fi; \
    done \
    && for package in libc6 libgcc-s1 ca-certificates; do \
        dpkg-query --status "$package" > "/image/var/lib/dpkg/status.d/$package"; \
    done \
    && cp --dereference /etc/os-release /etc/debian_version /etc/host.conf /image/etc/ \
    && cp --dereference /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
    && printf 'root:x:0:0::/:/sbin/nologin\nstowage:x:10001:10001::/var/lib/stowage:/sbin/nologin\n' > /image/etc/passwd \
    && printf 'root:x:0:\nstowage:x:10001:\n' > /image/etc/group

# No shell and no package manager: nothing that Stowage does not use.
FROM scratch
COPY --from=files /image/ /
# New volumes take their owner from these folders.
COPY --from=files --chown=10001:10001 /data/stowage /var/lib/stowage
COPY --from=files --chown=10001:10001 /data/backup /backup
COPY --from=build /build/target/release/stowage /usr/local/bin/stowage

# Its number, so that an engine can see that it is not root (runAsNonRoot of Kubernetes).
USER 10001:10001
WORKDIR /var/lib/stowage
# All interfaces, for a container is reached from outside. Access control must then be said: STOWAGE_AUTH=jwt, or =off.
# With =off, set STOWAGE_PUBLIC_URL to the address that clients use: other names are then refused, and with them pages of strangers.
ENV PATH=/usr/local/bin \
    STOWAGE_LISTEN=0.0.0.0:8080 \
    STOWAGE_DATA_DIR=/var/lib/stowage
# A library that is missing is found here.
RUN ["stowage", "--version"]
VOLUME /var/lib/stowage
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["stowage", "health"]
ENTRYPOINT ["stowage"]
CMD ["serve"]
