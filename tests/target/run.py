"""Runs on-target tests: each named group in turn, with one line a test, and a JUnit file as ctest writes it.

usage: run.py [--xml FILE] [-k PATTERN] GROUP...     groups: doctor, host, setup, restarts, threats, debian,
                                                   debian-smoke, tiny, tiny-boot
"""
import argparse
import pathlib
import sys
import time
import unittest
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

GROUPS = {
    "host": ["host_test.Host"],
    "doctor": ["host_test.Host.test_doctor_says_that_kvm_is_usable"],
    "debian": ["debian_test.Debian", "debian_test.WithoutFirmware"],
    "template": ["template_test.Templates"],
    "debian-smoke": ["debian_test.WithoutFirmware"],
    "setup": ["network_setup_test.Networkd", "network_setup_test.NetworkManager"],
    "restarts": ["restarts_test.Restarts"],
    "threats": ["threats_test.Guests", "threats_test.Neighbours", "threats_test.Links"],
    "tiny": ["tiny_test.Tiny"],
    # What the interrupt controller has a part in.
    "tiny-boot": ["tiny_test.Tiny.test_it_boots_under_kvm_and_ends_by_its_button",
                  "tiny_test.Tiny.test_the_interrupt_controller_is_the_one_asked_for"],
}


class Result(unittest.TextTestResult):
    """Keeps each test's seconds and outcome."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.cases = ElementTree.Element("testsuite", name="target")
        self.begin = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.begin = time.monotonic()

    def add(self, test, status, text=""):
        seconds = time.monotonic() - self.begin if self.begin else 0.0
        name = "target." + test.id().replace("_test.", ".")
        case = ElementTree.SubElement(self.cases, "testcase", name=name, time=f"{seconds:.3f}", status=status)
        if status == "fail":
            ElementTree.SubElement(case, "failure", message=text.strip().splitlines()[-1])
        if status == "notrun":
            ElementTree.SubElement(case, "skipped", message=f"SKIP: {text}")
        ElementTree.SubElement(case, "system-out").text = text
        self.stream.writeln(f"       {seconds:.1f} s")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.add(test, "run")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.add(test, "fail", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        super().addError(test, err)
        self.add(test, "fail", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.add(test, "notrun", reason)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--xml", type=pathlib.Path)
    parser.add_argument("-k", metavar="PATTERN", help="only tests whose name holds it")
    parser.add_argument("groups", nargs="+", choices=sorted(GROUPS), metavar="GROUP")
    arguments = parser.parse_args()
    loader = unittest.TestLoader()
    if arguments.k:
        loader.testNamePatterns = [f"*{arguments.k}*"]
    suite = loader.loadTestsFromNames([name for group in arguments.groups for name in GROUPS[group]])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result).run(suite)
    if arguments.xml:
        ElementTree.ElementTree(result.cases).write(arguments.xml, encoding="unicode")
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
