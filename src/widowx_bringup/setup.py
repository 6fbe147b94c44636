from pathlib import Path

from setuptools import find_packages, setup

NAME = "widowx_bringup"


def share(folder: str, pattern: str) -> tuple[str, list[str]]:
    """Return the data_files entry that installs a folder's files under share/."""
    return (
        f"share/{NAME}/{folder}",
        sorted(str(path) for path in Path(folder).glob(pattern)),
    )


setup(
    name=NAME,
    version="0.1.0",
    description="Arm, cameras, simulator, teleoperation, recorder, evaluation: WidowX 250 S",
    license="MIT",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={NAME: ["console/page/*", "description/*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml", "share/foxglove_layout.json"]),
        share("launch", "*.launch.py"),
        share("config", "*.yaml"),
        share("config", "*.xml"),
        share("config/studies", "*.yaml"),
    ],
    install_requires=[
        "ptr_common",
        "ptr_policy_node",
        "ptr_training",
        "daqp",  # the solver that mink is asked to use, through qpsolvers
        "glfw",
        "matplotlib",
        "mcap",
        "mink",
        "mujoco",
        "numpy",
        "opencv-python-headless",
        "pyopengl",
        "pyyaml",
        "qpsolvers",
        "scipy",
        "tqdm",
        "websockets",
    ],
    extras_require={
        "benchmark": ["gymnasium", "mani-skill", "sapien", "torch", "trimesh"],
        "spacemouse": ["pyspacemouse"],
        "statistics": ["fieldtrial", "statsmodels"],  # oracles of tests
        "test": ["hypothesis", "pytest"],  # colcon test runs pytest where it is named
    },
    python_requires=">=3.10",
    entry_points={
        "console_scripts": [
            "arm_node = widowx_bringup.arm.node:main",
            "bag_player = widowx_bringup.recording.bag_player:main",
            "console_node = widowx_bringup.console.node:main",
            "driver_keeper = widowx_bringup.arm.interbotix.driver_keeper:main",
            "camera_monitor = widowx_bringup.camera.monitor:main",
            "camera_node = widowx_bringup.sim.camera_node:main",
            "recorder_node = widowx_bringup.recording.recorder_node:main",
            "scripted_teleop = widowx_bringup.sim.scripted_teleop:main",
            "task_server = widowx_bringup.run_task.node:main",
            "teleop_node = widowx_bringup.teleop.node:main",
            "simulation = widowx_bringup.sim.node:main",
        ],
        "ptr.commands": [
            "benchmark = widowx_bringup.benchmark.main:main",
            "calibrate = widowx_bringup.evaluation.calibrate:main",
            "collect = widowx_bringup.sim.collect:main",
            "console = widowx_bringup.console.main:main",
            "demo = widowx_bringup.evaluation.demo:main",
            "doctor = widowx_bringup.doctor.main:main",
            "evaluate = widowx_bringup.evaluation.evaluate:main",
            "record = widowx_bringup.evaluation.record:main",
            "recover = widowx_bringup.recording.recover:main",
            "replay = widowx_bringup.replay.main:main",
            "report = widowx_bringup.evaluation.report:main",
            "teleop = widowx_bringup.teleop.main:main",
            "session = widowx_bringup.evaluation.session.main:main",
            "study = widowx_bringup.evaluation.study.study:main",
            "up = widowx_bringup.graph.up:main",
        ],
    },
)
