# docker build -t kafka-taos .
FROM rust:1.95-bookworm AS build
# The image's own toolchain, without the formatter and linter that rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --features tls \
    && cp target/dist/kafka-taos /kafka-taos

# C library and root certificates, no shell; runs as user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /kafka-taos /usr/local/bin/kafka-taos
ENTRYPOINT ["/usr/local/bin/kafka-taos"]
CMD ["--help"]
