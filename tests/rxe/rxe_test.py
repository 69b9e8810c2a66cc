#!/usr/bin/env python3
"""What the rig is for: device, contract suite, mcp-perf, mcp-info and failures, on one machine and between two.

    rxe_test.py --kernel 6.1 [--transport verbs] MCP_PERF MCP_INFO CONTRACT_TESTS [test_name...]

Without --transport the build has no verbs, and what needs them is skipped.
"""
import argparse
import signal
import sys

from cases import base, device, devices, doctor, failure, verbs
from rig import kernel

import harness  # from tests/process, where cases.base looks


class Rxe(device.Device, doctor.Doctor, verbs.Verbs, devices.Devices, failure.Failure):
    """Names begin with test_one, then come those of test_two: the machines change once."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--kernel', choices=kernel.KERNELS, required=True)
    parser.add_argument('--transport', default='')
    parser.add_argument('mcp_perf')
    parser.add_argument('mcp_info')
    parser.add_argument('contract_tests')
    parser.add_argument('names', nargs='*')
    parser.parse_args(namespace=base.Setting)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return harness.main(Rxe, base.Setting.names)
    finally:
        base.MACHINES.close()


if __name__ == '__main__':
    sys.exit(main())
