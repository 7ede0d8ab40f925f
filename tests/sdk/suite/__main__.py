"""Runs every test of this package and ends with one line; a skipped test counts as failed."""

import sys
import unittest

from . import test_boto3, test_control, test_mosquitto, test_sdk

MODULES = (test_boto3, test_control, test_sdk, test_mosquitto)


def main() -> int:
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite(loader.loadTestsFromModule(module) for module in MODULES)
    if suite.countTestCases() == 0:
        print("sdk: 0 passed, no test was found", flush=True)
        return 1
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.skipped) + len(result.unexpectedSuccesses)
    print(f"sdk: {max(result.testsRun - failed, 0)} passed, {failed} failed", flush=True)
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
