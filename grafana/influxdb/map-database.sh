#!/bin/bash
# InfluxQL knows databases, InfluxDB 2 knows buckets: the database "monitoring" is the bucket of that name. InfluxDB's image runs this
# once, when it has set itself up.
set -euo pipefail
influx v1 dbrp create --default --db monitoring --rp autogen \
    --bucket-id "$DOCKER_INFLUXDB_INIT_BUCKET_ID" --org "$DOCKER_INFLUXDB_INIT_ORG"
