"""What users of libvirt do for the same VM: qemu-img, genisoimage, virt-install and virsh, where they are installed and a
libvirtd answers. LIBVIRT_DEFAULT_URI chooses which; qemu:///session needs neither root nor systemd."""
import shutil
import subprocess
import time

NAME = "nxbench"
TOOLS = ("virsh", "virt-install", "genisoimage", "qemu-img")


def why_not():
    """None where it can be measured."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"{', '.join(missing)} not installed"
    listed = subprocess.run(["virsh", "list"], capture_output=True, text=True)
    return None if listed.returncode == 0 else f"no libvirtd answers: {listed.stderr.strip()}"


def milliseconds(*command):
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
    return (time.perf_counter() - begin) * 1000


class Domain:
    """A VM like that of the benchmark's `create`: an overlay, a seed, one card with user-mode networking, its kernel loaded."""

    def __init__(self, directory, base, kernel):
        """@param kernel of the configuration's: kernel, initrd, cmdline"""
        self.base, self.kernel = base, kernel
        self.disk, self.seed = directory / "libvirt.qcow2", directory / "libvirt.iso"
        self.files = directory / "libvirt-seed"
        self.files.mkdir()
        for name in ("user-data", "meta-data"):
            (self.files / name).write_text("#cloud-config\n" + "x: y\n" * 50)

    def create(self):
        """To the guest's start; milliseconds."""
        self.disk.unlink(missing_ok=True)
        overlay = milliseconds("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(self.base), "-F", "qcow2", str(self.disk), "64M")
        seed = milliseconds("genisoimage", "-quiet", "-output", str(self.seed), "-volid", "cidata", "-joliet", "-rock", str(self.files))
        return overlay + seed + milliseconds(
            "virt-install", "--name", NAME, "--virt-type", "qemu", "--memory", "128", "--vcpus", "1", "--import",
            "--disk", f"path={self.disk},format=qcow2,bus=virtio", "--disk", f"path={self.seed},device=cdrom",
            "--network", "user,model=virtio", "--graphics", "none", "--noautoconsole", "--osinfo", "detect=off,require=off",
            "--boot", f"kernel={self.kernel['kernel']},initrd={self.kernel['initrd']},kernel_args=\"{self.kernel['cmdline']}\"")

    def start(self):
        return milliseconds("virsh", "start", NAME)

    def destroy(self):
        return milliseconds("virsh", "destroy", NAME)

    def remove(self):
        for command in ("destroy", "undefine"):
            subprocess.run(["virsh", command, NAME], capture_output=True)


def measure_libvirt(directory, base, kernel, runs):
    """Milliseconds of `create`, `start` and `force stop`."""
    times = {"create": [], "start": [], "force stop": []}
    domain = Domain(directory, base, kernel)
    domain.remove()
    try:
        for _ in range(runs):
            times["create"].append(domain.create())
            times["force stop"].append(domain.destroy())
            times["start"].append(domain.start())
            times["force stop"].append(domain.destroy())
            domain.remove()
    finally:
        domain.remove()
    return times
