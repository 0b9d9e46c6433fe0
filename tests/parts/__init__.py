"""The real parts that tests run against: PostgreSQL and two S3 servers, in temporary folders."""
