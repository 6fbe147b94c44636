# Training: plain Python, no ROS. Build from the repository:
#   docker compose -f docker/compose.yaml build training
FROM python:3.12-slim
# Any index of PyTorch builds; without it, pip takes the CUDA build.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /ptr
COPY requirements requirements
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r requirements/training.in -c requirements/lock.txt

COPY src/ptr_policy_node src/ptr_policy_node
COPY src/ptr_training src/ptr_training
RUN pip install --no-cache-dir --no-deps ./src/ptr_policy_node ./src/ptr_training

ENTRYPOINT ["ptr"]
CMD ["--help"]
