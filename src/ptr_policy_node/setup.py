from setuptools import find_packages, setup

NAME = "ptr_policy_node"

setup(
    name=NAME,
    version="0.1.0",
    description="Runs an exported PTR policy: camera images in, 7-DoF end-effector commands out",
    license="MIT",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["ptr_common", "numpy", "pyyaml", "torch"],
    extras_require={
        "openvino": ["openvino"],
        "served": ["msgpack", "websockets"],
        "signature": ["cryptography"],
        "test": ["hypothesis", "pytest"],
    },
    python_requires=">=3.10",
    entry_points={
        "console_scripts": [
            "policy_node = ptr_policy_node.policy_node:main",
            "policy_shadow = ptr_policy_node.policy_shadow:main",
        ],
        "ptr.commands": [
            "compile = ptr_policy_node.aot_compile:main",
            "serve = ptr_policy_node.served.main:main",
        ],
    },
)
