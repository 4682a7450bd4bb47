# Driftless for a project mounted at /project:
#   docker build -t driftless .
#   docker run -v "$PWD":/project -e SHOP_URL -e BILLING_URL driftless
FROM debian:12 AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        build-essential ca-certificates cmake curl libclang-dev pkg-config
RUN curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal
ENV PATH=/root/.cargo/bin:$PATH
WORKDIR /build
COPY . .
RUN cargo build --release --locked

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/driftless /usr/local/bin/driftless
VOLUME /project
WORKDIR /project
# A stop is a SIGTERM: the daemon writes a last checkpoint and leaves.
ENTRYPOINT ["driftless"]
CMD ["run"]
