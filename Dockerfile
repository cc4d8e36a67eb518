FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /app && /app/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY edge edge
COPY pumpwatch pumpwatch
RUN /app/bin/pip install --no-cache-dir --no-deps ./edge .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 pumpwatch && mkdir /data && chown pumpwatch /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1
USER pumpwatch
VOLUME /data
WORKDIR /data
CMD ["pumpwatch", "serve"]
