# syntax=docker/dockerfile:1
# MinIO's server, from source: its images are no longer published. Any S3 store will do instead.

FROM golang:1.26 AS build
ENV CGO_ENABLED=0
RUN go install github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10002 --create-home --home-dir /var/lib/minio minio
COPY --from=build /go/bin/minio /usr/local/bin/minio
USER 10002
RUN mkdir /var/lib/minio/data
EXPOSE 9000
HEALTHCHECK --interval=5s --timeout=3s --retries=10 \
  CMD ["curl", "--fail", "--silent", "http://127.0.0.1:9000/minio/health/live"]
ENTRYPOINT ["minio", "server", "/var/lib/minio/data", "--address", ":9000", "--quiet"]
