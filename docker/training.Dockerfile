# Training: plain Python, no ROS.
#   docker compose -f docker/compose.yaml build training
FROM python:3.12-slim
# Any index of PyTorch builds. Empty: PyPI's own, which for Linux is the CUDA build (docker/compose.gpu.yaml).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /ptr
COPY requirements requirements
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      -r requirements/training.in -r requirements/lerobot.in -c requirements/lock.txt

# Numbers of the host's user, who owns data/ and runs/.
ARG PTR_UID=1000
ARG PTR_GID=1000
RUN groupadd --non-unique --gid "$PTR_GID" ptr && useradd --non-unique --uid "$PTR_UID" --gid ptr --create-home ptr

# src/ptr_training/train is a link to config/train.
COPY config/train config/train
COPY src/ptr_common src/ptr_common
COPY src/ptr_policy_node src/ptr_policy_node
COPY src/ptr_training src/ptr_training
RUN pip install --no-cache-dir --no-deps ./src/ptr_common ./src/ptr_policy_node ./src/ptr_training

# hadolint ignore=DL3066
USER ptr
ENTRYPOINT ["ptr"]
CMD ["--help"]
