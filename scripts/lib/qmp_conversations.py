"""The conversations that scripts/record-qmp records: one function each, in the order of their recording."""
import os
import pathlib
import signal
import socket
import subprocess

from qmp_talk import Machine, Talk, recording

BOTH = ("aarch64", "x86_64")
ROOT_PORT = ["-device", "pcie-root-port,id=rp1,chassis=1,slot=1"]


# --- what the machine is and does ---------------------------------------------------------------

@recording(*BOTH, title="greeting, then quit at once")
def greeting_quit(talk):
    talk.negotiate()
    talk.quit()


@recording(*BOTH, title="query-status, cont, stop, cont, quit")
def start_stop(talk):
    talk.negotiate()
    talk.do("query-status")
    talk.do("cont")
    talk.do("query-status")
    talk.do("stop")
    talk.do("query-status")
    talk.do("cont")
    talk.quit()


@recording(*BOTH, title="five commands written at once")
def pipelined(talk):
    talk.negotiate()
    numbers = [talk.send(name) for name in
               ("query-status", "stop", "cont", "query-version", "query-status")]
    talk.until(lambda m: m.get("id") == numbers[-1])
    talk.quit()


@recording(*BOTH, title="what it is: version, KVM, processors, serial lines", arguments=[
    "-smp", "2", "-chardev", "null,id=console", "-serial", "chardev:console"])
def facts(talk):
    talk.negotiate()
    for name in ("query-version", "query-kvm", "query-cpus-fast", "query-chardev", "query-name",
                 "query-uuid", "query-migrate"):
        talk.do(name)
    talk.quit()


@recording(*BOTH, title="power button")
def powerdown(talk):
    talk.negotiate()
    talk.do("cont")
    talk.send("system_powerdown")
    talk.event("POWERDOWN")
    talk.quit()


@recording(*BOTH, title="reset")
def reset(talk):
    talk.negotiate()
    talk.do("cont")
    talk.send("system_reset")
    talk.event("RESET")
    talk.quit()


@recording(*BOTH, title="ended by SIGTERM")
def sigterm(talk):
    talk.negotiate()
    talk.do("cont")
    talk.machine.process.send_signal(signal.SIGTERM)
    talk.to_end()


@recording(*BOTH, title="ended by SIGKILL while commands wait")
def sigkill(talk):
    talk.negotiate()
    talk.machine.process.send_signal(signal.SIGSTOP)
    talk.send("query-status")
    talk.send("stop")
    talk.machine.process.kill()
    talk.to_end()


@recording("aarch64", title="the schema: the largest usual reply")
def schema(talk):
    talk.negotiate()
    talk.do("query-qmp-schema")
    talk.quit()


# --- refusals ------------------------------------------------------------------------------------

@recording(*BOTH, title="refusals of every class")
def errors(talk):
    talk.negotiate()
    talk.do("no-such-command")
    talk.do("device_del")
    talk.do("device_del", id="none")
    talk.do("device_del", id=7)
    talk.do("set_link", name="none", up=True)
    talk.do("cont", surplus=1)
    talk.do("query-balloon")
    talk.do("netdev_del", id="none")
    talk.do("blockdev-del", node_name="none")
    talk.do("getfd", fdname="none")
    talk.do("migrate", uri="fd:none")
    talk.do("device_add", driver="no-such-device")
    talk.do("human-monitor-command", command_line="no-such-command")
    talk.do("query-status")
    talk.quit()


@recording(*BOTH, title="lines that are no commands")
def nonsense(talk):
    talk.negotiate()
    talk.raw("{not json}")
    talk.raw('{"execute": 7}')
    talk.raw("[]")
    talk.raw('{"exec": "cont"}')
    talk.raw('{"execute": "cont", "arguments": []}')
    talk.do("query-status")
    talk.quit()


@recording(*BOTH, title="a device on the root bus is refused, on a spare port it is not",
           arguments=ROOT_PORT)
def root_bus(talk):
    talk.negotiate()
    talk.do("device_add", driver="virtio-rng-pci", id="rng1", bus="pcie.0", addr="0x12")
    talk.do("device_add", driver="virtio-rng-pci", id="rng1", bus="rp1")
    talk.do("device_add", driver="virtio-rng-pci", id="rng1", bus="rp1")
    talk.quit()


# --- hotplug -------------------------------------------------------------------------------------

@recording(*BOTH, title="a NIC comes; a guest that does not run lets none go", arguments=ROOT_PORT)
def hotplug_nic(talk):
    talk.negotiate()
    talk.do("netdev_add", type="user", id="n1", restrict=True)
    talk.do("device_add", driver="virtio-net-pci", id="nic1", netdev="n1", bus="rp1",
            mac="52:54:00:12:34:56")
    talk.do("set_link", name="nic1", up=False)
    talk.do("set_link", name="nic1", up=True)
    # No guest presses the button, so it is asked for and never done.
    talk.do("device_del", id="nic1")
    talk.do("device_del", id="nic1")
    talk.do("netdev_del", id="n1")
    talk.quit()


def small_disk(directory):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "64M"], cwd=directory,
                   check=True)


@recording(*BOTH, title="a disk comes and goes", arguments=["-device", "virtio-scsi-pci,id=scsi"],
           prepare=small_disk)
def hotplug_disk(talk):
    talk.negotiate()
    talk.do("blockdev-add", driver="qcow2", node_name="disk1",
            file={"driver": "file", "filename": "disk.qcow2"})
    talk.do("device_add", driver="scsi-hd", id="sd1", drive="disk1", bus="scsi.0")
    talk.do("query-block")
    talk.do("blockdev-del", node_name="disk1")
    talk.send("device_del", id="sd1")
    talk.event("DEVICE_DELETED")
    talk.do("blockdev-del", node_name="disk1")
    talk.quit()


@recording("aarch64", title="a virtio-serial port comes and goes",
           arguments=["-device", "virtio-serial-pci,id=vs", "-chardev", "null,id=agent"])
def hotplug_port(talk):
    talk.negotiate()
    talk.do("device_add", driver="virtserialport", id="port1", chardev="agent",
            name="org.qemu.guest_agent.0")
    talk.send("device_del", id="port1")
    talk.event("DEVICE_DELETED")
    talk.quit()


# --- disks, memory, descriptors, ports --------------------------------------------------------------

@recording(*BOTH, title="block nodes and a resize", prepare=small_disk, arguments=[
    "-blockdev", '{"driver":"file","node-name":"file0","filename":"disk.qcow2"}',
    "-blockdev", '{"driver":"qcow2","node-name":"disk0","file":"file0"}',
    "-device", "virtio-blk-pci,id=vd0,drive=disk0,werror=stop,rerror=stop"])
def block(talk):
    talk.negotiate()
    talk.do("query-block")
    talk.do("query-named-block-nodes", flat=True)
    talk.do("block_resize", node_name="disk0", size=128 << 20)
    talk.do("block_resize", node_name="none", size=1)
    talk.do("query-block")
    talk.quit()


@recording(*BOTH, title="balloon", arguments=["-device", "virtio-balloon-pci,id=balloon0"])
def balloon(talk):
    talk.negotiate()
    talk.do("query-balloon")
    talk.do("balloon", value=16 << 20)
    talk.do("balloon", value=0)
    talk.do("query-balloon")
    talk.quit()


@recording(*BOTH, title="descriptors: getfd, add-fd, remove-fd")
def descriptors(talk):
    talk.negotiate()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        talk.do("getfd", fd=null, fdname="one")
        talk.do("closefd", fdname="one")
        talk.do("closefd", fdname="one")
        added = talk.do("add-fd", fd=null, opaque="spare")["return"]["fdset-id"]
        talk.do("add-fd", fd=null, fdset_id=added)
        talk.do("query-fdsets")
        talk.do("remove-fd", fdset_id=added)
        talk.do("remove-fd", fdset_id=added)
        talk.do("add-fd", fdset_id=added)
    finally:
        os.close(null)
    talk.quit()


@recording(*BOTH, title="port forwards by the human monitor",
           arguments=["-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0"])
def hostfwd(talk):
    talk.negotiate()
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.listen(1)
    port = holder.getsockname()[1]
    add = f"hostfwd_add n0 tcp:127.0.0.1:{port}-:22"
    talk.do("human-monitor-command", command_line=add)
    holder.close()
    talk.do("human-monitor-command", command_line=add)
    talk.do("human-monitor-command", command_line="hostfwd_add none tcp:127.0.0.1:1-:22")
    talk.quit()


# --- migration -----------------------------------------------------------------------------------

def file_descriptor(directory, name, flags):
    return os.open(os.path.join(directory, name), flags | os.O_CLOEXEC, 0o600)


def events_on(talk):
    talk.do("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])


def save(talk):
    state = file_descriptor(talk.machine.directory, "state", os.O_RDWR | os.O_CREAT)
    try:
        talk.do("getfd", fd=state, fdname="state")
    finally:
        os.close(state)
    talk.send("migrate", uri="fd:state")
    talk.until(lambda m: m.get("event") == "MIGRATION" and m["data"]["status"] == "completed")


@recording(*BOTH, title="the state saved to a file by descriptor")
def migrate_save(talk):
    talk.negotiate()
    events_on(talk)
    talk.do("cont")
    talk.do("stop")
    save(talk)
    talk.do("query-migrate")
    talk.do("query-status")
    talk.quit()


@recording(*BOTH, title="the state loaded from a file by descriptor", arguments=["-incoming", "defer"])
def migrate_load(talk):
    other_directory = os.path.join(talk.machine.directory, "source")
    os.mkdir(other_directory)
    other = Machine(talk.machine.arch, [], other_directory)
    try:
        source = Talk(other)
        source.negotiate()
        events_on(source)
        save(source)
        source.quit()
    finally:
        other.end()
    talk.negotiate()
    events_on(talk)
    state = file_descriptor(other_directory, "state", os.O_RDONLY)
    try:
        talk.do("getfd", fd=state, fdname="state")
    finally:
        os.close(state)
    talk.send("migrate-incoming", uri="fd:state")
    talk.until(lambda m: m.get("event") == "MIGRATION" and m["data"]["status"] == "completed")
    talk.do("query-status")
    talk.do("cont")
    talk.do("query-status")
    talk.quit()


@recording("x86_64", title="a slow migration, cancelled", arguments=["-m", "128"])
def migrate_cancel(talk):
    talk.negotiate()
    events_on(talk)
    talk.do("migrate-set-parameters", max_bandwidth=4096)
    state = file_descriptor(talk.machine.directory, "state", os.O_RDWR | os.O_CREAT)
    try:
        talk.do("getfd", fd=state, fdname="state")
    finally:
        os.close(state)
    talk.send("migrate", uri="fd:state")
    talk.until(lambda m: m.get("event") == "MIGRATION" and m["data"]["status"] == "active")
    talk.do("query-migrate")
    talk.send("migrate_cancel")
    talk.until(lambda m: m.get("event") == "MIGRATION" and m["data"]["status"] == "cancelled")
    talk.do("query-migrate")
    talk.quit()


@recording("aarch64", title="an incoming migration from an empty file fails and ends QEMU",
           arguments=["-incoming", "defer"])
def migrate_fail(talk):
    talk.negotiate()
    events_on(talk)
    empty = file_descriptor(talk.machine.directory, "empty", os.O_RDWR | os.O_CREAT)
    try:
        talk.do("getfd", fd=empty, fdname="state")
    finally:
        os.close(empty)
    talk.send("migrate-incoming", uri="fd:state")
    talk.to_end()


# --- storms and several clients ---------------------------------------------------------------------

@recording(*BOTH, title="an event storm: 150 pairs of cont and stop written at once")
def storm(talk):
    talk.negotiate()
    last = 0
    for _ in range(150):
        talk.send("cont")
        last = talk.send("stop")
    talk.until(lambda m: m.get("id") == last)
    talk.quit()


@recording("aarch64", title="a second client is greeted only when the first has left")
def second_client(talk):
    second = Talk(talk.machine)
    talk.negotiate()
    talk.do("cont")
    talk.connection.close()
    # The conversation that counts is the second one.
    talk.connection, talk.buffer, talk.items, talk.commands = second.connection, b"", [], 0
    talk.negotiate()
    talk.do("query-status")
    talk.quit()


@recording("x86_64", title="a client that comes back: what happened meanwhile is lost")
def reconnect(talk):
    talk.negotiate()
    talk.send("cont")
    talk.connection.close()
    again = Talk(talk.machine)
    talk.connection, talk.buffer, talk.items, talk.commands = again.connection, b"", [], 0
    talk.negotiate()
    talk.do("query-status")
    talk.do("query-block")
    talk.quit()


# --- what guests do ------------------------------------------------------------------------------

def boot_sector(code):
    """x86 real mode code that SeaBIOS loads from the disk; it halts at its end."""
    def prepare(directory):
        sector = (bytes(code) + b"\xf4\xeb\xfd").ljust(510, b"\0") + b"\x55\xaa"
        pathlib.Path(directory, "boot.img").write_bytes(sector.ljust(1 << 20, b"\0"))
    return prepare


BOOT_DISK = ["-blockdev", '{"driver":"raw","node-name":"boot0","file":{"driver":"file",'
             '"filename":"boot.img"}}', "-device", "virtio-blk-pci,id=vd0,drive=boot0,bootindex=0"]
POWER_OFF = [0xBA, 0x04, 0x06, 0xB8, 0x00, 0x20, 0xEF]  # out 0x604, 0x2000: ACPI S5
SLEEP = [0xBA, 0x04, 0x06, 0xB8, 0x00, 0x24, 0xEF]      # out 0x604, 0x2400: ACPI S3
RESET = [0xB0, 0xFE, 0xE6, 0x64]                        # out 0x64, 0xfe
PANIC = [0xBA, 0x05, 0x05, 0xB0, 0x01, 0xEE]            # out 0x505, 1: pvpanic
BITE = [0xBA, 0x43, 0x04, 0xB0, 0x0F, 0xEE]             # out 0x443, 15: ib700, 0 s


@recording("x86_64", title="the guest powers off", arguments=BOOT_DISK, prepare=boot_sector(POWER_OFF))
def guest_shutdown(talk):
    talk.negotiate()
    talk.do("cont")
    talk.to_end()


@recording("x86_64", title="the guest resets under reboot=shutdown",
           arguments=BOOT_DISK + ["-action", "reboot=shutdown"], prepare=boot_sector(RESET))
def guest_reset(talk):
    talk.negotiate()
    talk.do("cont")
    talk.to_end()


@recording("x86_64", title="the guest panics under panic=pause",
           arguments=BOOT_DISK + ["-device", "pvpanic", "-action", "panic=pause"],
           prepare=boot_sector(PANIC))
def guest_panic(talk):
    talk.negotiate()
    talk.send("cont")
    talk.event("GUEST_PANICKED")
    talk.do("query-status")
    talk.quit()


@recording("x86_64", title="the watchdog bites under watchdog=pause",
           arguments=BOOT_DISK + ["-device", "ib700", "-action", "watchdog=pause"],
           prepare=boot_sector(BITE))
def guest_watchdog(talk):
    talk.negotiate()
    talk.send("cont")
    talk.event("WATCHDOG")
    talk.do("query-status")
    talk.quit()


@recording("x86_64", title="the guest sleeps and is woken", arguments=BOOT_DISK,
           prepare=boot_sector(SLEEP))
def guest_suspend(talk):
    talk.negotiate()
    talk.send("cont")
    talk.event("SUSPEND")
    talk.do("query-status")
    talk.send("system_wakeup")
    talk.event("WAKEUP")
    talk.quit()


@recording("x86_64", title="a read fails for lack of space and stops the machine, twice",
           prepare=boot_sector(POWER_OFF), arguments=[
               "-blockdev", '{"driver":"blkdebug","node-name":"boot0","image":{"driver":"file",'
               '"filename":"boot.img"},"inject-error":[{"event":"none","iotype":"read","errno":28}'
               ']}',
               "-device", "virtio-blk-pci,id=vd0,drive=boot0,bootindex=0,werror=stop,rerror=stop"])
def guest_no_space(talk):
    talk.negotiate()
    talk.send("cont")
    talk.event("STOP")
    talk.do("query-status")
    talk.do("query-block")
    talk.send("cont")
    talk.event("STOP")
    talk.quit()


def arm_code(*words):
    """aarch64 code that the generic loader puts into memory, behind the device tree."""
    def prepare(directory):
        code = b"".join(word.to_bytes(4, "little") for word in words)
        pathlib.Path(directory, "code.bin").write_bytes(code)
    return prepare


LOADER = ["-device", "loader,file=code.bin,addr=0x40200000,cpu-num=0,force-raw=on"]


@recording("aarch64", title="the guest powers off by PSCI", arguments=LOADER,
           # movz w0, #8; movk w0, #0x8400, lsl #16; hvc #0: SYSTEM_OFF
           prepare=arm_code(0x52800100, 0x72B08000, 0xD4000002))
def guest_shutdown_psci(talk):
    talk.negotiate()
    talk.do("cont")
    talk.to_end()


@recording("aarch64", title="the guest resets by PSCI under reboot=shutdown",
           arguments=LOADER + ["-action", "reboot=shutdown"],
           # movz w0, #9; movk w0, #0x8400, lsl #16; hvc #0: SYSTEM_RESET
           prepare=arm_code(0x52800120, 0x72B08000, 0xD4000002))
def guest_reset_psci(talk):
    talk.negotiate()
    talk.do("cont")
    talk.to_end()
