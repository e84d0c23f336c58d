"""Says what there is: `python -m mnistopt`."""

import sys

import mnistopt

if __name__ == "__main__":
    sys.stdout.write(
        f"{mnistopt.__doc__}\n"
        "In the project's folder, ./launch.sh trains a grid, ./launch.sh --help lists\n"
        "the programs, and ./launch.sh grid --help shows the settings.\n"
    )
