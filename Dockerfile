# syntax=docker/dockerfile:1

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
    && strip --strip-debug target/release/stowage

FROM debian:bookworm-slim
# Roots of trust for object stores, databases and key servers that are reached over TLS.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/stowage --create-home stowage
COPY --from=build /build/target/release/stowage /usr/local/bin/stowage

USER stowage
WORKDIR /var/lib/stowage
# All interfaces, for a container is reached from outside. Access control must then be said: STOWAGE_AUTH=jwt, or =off.
# With =off, set STOWAGE_PUBLIC_URL to the address that clients use: other names are then refused, and with them pages of strangers.
ENV STOWAGE_LISTEN=0.0.0.0:8080 \
    STOWAGE_DATA_DIR=/var/lib/stowage
VOLUME /var/lib/stowage
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["stowage", "health"]
ENTRYPOINT ["stowage"]
CMD ["serve"]
