from pathlib import Path

from setuptools import find_packages, setup

NAME = "widowx_bringup"


def share(folder: str, pattern: str) -> tuple[str, list[str]]:
    """Return the data_files entry that installs a folder's files under share/."""
    return (f"share/{NAME}/{folder}", sorted(str(path) for path in Path(folder).glob(pattern)))


setup(
    name=NAME,
    version="0.1.0",
    description="Arm, cameras, simulator, teleoperation, recorder and evaluation for a WidowX 250 S",
    license="MIT",
    packages=find_packages(exclude=["test"]),
    package_data={NAME: ["description/*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        share("launch", "*.launch.py"),
        share("config", "*.yaml"),
        share("config", "*.xml"),
        share("config/studies", "*.yaml"),
    ],
    install_requires=["ptr_policy_node", "ptr_training", "numpy", "pyyaml"],
    extras_require={
        "spacemouse": ["pyspacemouse"],
        "test": ["hypothesis", "pytest"],  # colcon test runs pytest where it is named
    },
    python_requires=">=3.10",
    entry_points={
        "console_scripts": [
            "arm_node = widowx_bringup.arm_node:main",
            "bag_player = widowx_bringup.bag_player:main",
            "driver_keeper = widowx_bringup.driver_keeper:main",
            "camera_monitor = widowx_bringup.camera_monitor:main",
            "camera_node = widowx_bringup.camera_node:main",
            "recorder_node = widowx_bringup.recorder_node:main",
            "scripted_teleop = widowx_bringup.scripted_teleop:main",
            "teleop_node = widowx_bringup.teleop_node:node_main",
            "simulation = widowx_bringup.simulation:main",
        ],
        "ptr.commands": [
            "calibrate = widowx_bringup.calibrate:main",
            "collect = widowx_bringup.collect:main",
            "demo = widowx_bringup.demo:main",
            "doctor = widowx_bringup.doctor:main",
            "evaluate = widowx_bringup.evaluate:main",
            "record = widowx_bringup.record:main",
            "recover = widowx_bringup.bag_writer:recover",
            "report = widowx_bringup.report:main",
            "teleop = widowx_bringup.teleop_node:main",
            "study = widowx_bringup.study:main",
            "up = widowx_bringup.up:main",
        ],
    },
)
