from pathlib import Path

from setuptools import find_packages, setup

NAME = "ptr_training"

setup(
    name=NAME,
    version="0.1.0",
    description="Offline training for PTR, without ROS: episodes, agents, selection, bundles",
    license="MIT",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (
            f"share/{NAME}/train",
            sorted(map(str, Path("train").glob("*.yaml"))),
        ),  # a link to config/train
    ],
    install_requires=[
        "ptr_common",
        "ptr_policy_node",
        "apsw",
        'backports.zstd; python_version < "3.14"',
        "google-crc32c",
        "lz4",
        "matplotlib",
        "mcap",
        "numpy",
        "opencv-python-headless",
        "protobuf",
        "pyyaml",
        "rosbags",
        "tensorboard",
        "torch",
        "tqdm",
    ],
    extras_require={
        "lance": ["pylance"],
        "lerobot": ["av", "pyarrow"],
        "rerun": ["rerun-sdk"],
        "slurm": ["submitit"],
        "wandb": ["wandb"],
        "test": ["hypothesis", "pytest"],  # colcon test runs pytest where it is named
    },
    python_requires=">=3.10",
    entry_points={
        "ptr.commands": [
            "export = ptr_training.bags.export:main",
            "import = ptr_training.importers.import_command:main",
            "merge = ptr_training.importers.import_command:merge",
            "pretrain = ptr_training.training.train:pretrain",
            "finetune = ptr_training.training.train:finetune",
            "inspect = ptr_training.inspection.inspect:main",
            "review = ptr_training.data.review:main",
            "select = ptr_training.deploy.checkpoint_selection:main",
            "bundle = ptr_training.deploy.bundle_export:main",
            "submit = ptr_training.submit:main",
            "convert = ptr_training.importers.convert:main",
            "view = ptr_training.viewing.view:main",
        ],
    },
)
