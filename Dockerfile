# The demo's services and monitor, as grafana/compose.yaml starts them; docs/deployment.md says what a project of your own needs.
FROM python:3.13-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DEMO_DIR=/data

WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt gunicorn==27.0.1

# What containers write into: volumes that are mounted there take over the owner.
RUN useradd --uid 10001 --no-create-home --home-dir /data app \
    && install -d -o app -g app -m 755 /data /data/logs /data/state /var/log/app

COPY manage.py ./
COPY monitoring ./monitoring
COPY demo_project ./demo_project
COPY grafana/stack ./grafana/stack
RUN python -m compileall -q monitoring demo_project grafana

USER app
EXPOSE 8000
CMD ["gunicorn", "--workers=2", "--bind=0.0.0.0:8000", "--no-control-socket", "grafana.stack.service_wsgi"]
