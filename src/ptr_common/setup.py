from setuptools import find_packages, setup

NAME = "ptr_common"

setup(
    name=NAME,
    version="0.1.0",
    description="Shared by all packages of PTR: contracts, files, images, the command ptr",
    license="MIT",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=[
        "jinja2",
        "markupsafe",
        "numpy",
        "opencv-python-headless",
        "pyyaml",
        "tqdm",
    ],
    extras_require={
        "completion": ["argcomplete"],
        "test": ["hypothesis", "pytest"],  # colcon test runs pytest where it is named
    },
    python_requires=">=3.10",
    entry_points={"console_scripts": ["ptr = ptr_common.cli:main"]},
)
