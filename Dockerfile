# The image holds one static program, the list of certificate authorities, and an empty folder for the ledger. Nothing else:
# no shell, no libraries, no user database. docs/container.md says how to run it, and how far this file has been tried.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Naming the target keeps +crt-static away from build scripts and procedural macros, which cannot be static.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin bornright --target "$target" \
 && install -D --strip "target/$target/release/bornright" /out/bornright \
 && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt \
 && install -d -o 65532 -g 65532 /out/data

FROM scratch
COPY --from=build /out/bornright /bornright
# Sources behind TLS are verified against these (the platform's list: the program carries none of its own).
COPY --from=build /out/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/data /data
# Documents are spooled next to the ledger: the rest of the file system may be read-only.
ENV TMPDIR=/data
WORKDIR /data
VOLUME /data
USER 65532:65532
EXPOSE 9876
ENTRYPOINT ["/bornright"]
CMD ["serve", "--config", "/etc/bornright/bornright.yaml", "--listen", "0.0.0.0:9876"]
