# The robot's side: ROS 2 Humble, our packages built with colcon, PyTorch to run a bundle (CPU). Build from the repository:
#   docker compose -f docker/compose.yaml build robot
FROM ros:humble-ros-base

RUN apt-get update \
 && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri libopengl0 python3-pip \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /ptr
COPY requirements/robot.txt requirements/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements/robot.txt

COPY config config
COPY launch launch
COPY src src
RUN apt-get update \
 && rosdep update --rosdistro humble \
 && rosdep install --from-paths src --ignore-src --rosdistro humble --default-yes \
 && rm -rf /var/lib/apt/lists/*
RUN . /opt/ros/humble/setup.sh && colcon build && printf '. /ptr/install/setup.bash\n' >> /root/.bashrc

# Runs the command with both ROS and the workspace sourced.
ENTRYPOINT ["bash", "-c", "source /opt/ros/humble/setup.bash && source /ptr/install/setup.bash && exec \"$0\" \"$@\""]
CMD ["ros2", "launch", "widowx_bringup", "ptr_eval.launch.py", "--show-args"]
