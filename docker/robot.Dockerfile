# The robot's side: ROS 2 Humble, our packages built with colcon, PyTorch to run a bundle (CPU), drivers of cameras.
#   docker compose -f docker/compose.yaml build robot
# Interbotix publishes its driver as source only. For the real arm, BASE_IMAGE is an image that its own installer has
# prepared (docker/README.md); on the default one, everything but the real arm runs.
ARG BASE_IMAGE=ros:humble-ros-base
FROM ${BASE_IMAGE}

# The rarest changes come first. ROS's archive keeps no old versions, so no version is named.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      libegl1 libgl1-mesa-dri libopengl0 python3-pip \
      ros-humble-realsense2-camera ros-humble-usb-cam ros-humble-v4l2-camera \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /ptr
COPY requirements/robot.txt requirements/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements/robot.txt

# The manifests alone decide what rosdep installs, so a change of the source does not install it anew.
COPY src/ptr_msgs/package.xml src/ptr_msgs/
COPY src/ptr_common/package.xml src/ptr_common/
COPY src/ptr_policy_node/package.xml src/ptr_policy_node/
COPY src/ptr_training/package.xml src/ptr_training/
COPY src/widowx_bringup/package.xml src/widowx_bringup/
RUN apt-get update \
 && rosdep update --rosdistro humble \
 && rosdep install --from-paths src --ignore-src --rosdistro humble --default-yes \
      --dependency-types buildtool --dependency-types build --dependency-types exec \
 && rm -rf /root/.ros /var/lib/apt/lists/*

# Numbers of the host's user, who owns bags/ and runs/ and whose nodes share memory with the container's.
ARG PTR_UID=1000
ARG PTR_GID=1000
RUN groupadd --force --system input \
 && groupadd --non-unique --gid "$PTR_GID" ptr \
 && useradd --non-unique --uid "$PTR_UID" --gid ptr --groups dialout,video,plugdev,input --create-home ptr

COPY config config
COPY launch launch
COPY src src
RUN . /opt/ros/humble/setup.sh && colcon build && rm -rf build log

COPY docker/entrypoint /usr/local/bin/ptr-entrypoint
# By name: a number alone would have none of its groups.
# hadolint ignore=DL3066
USER ptr
# On SIGINT, ros2 launch ends its nodes in order: the arm goes to its sleep pose, then the driver ends.
STOPSIGNAL SIGINT
ENTRYPOINT ["ptr-entrypoint"]
CMD ["ros2", "launch", "widowx_bringup", "ptr_eval.launch.py", "--show-args"]
