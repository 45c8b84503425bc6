"""Machines that are network namespaces: each with its own /dev/shm, its own core, its own links.

Processes that share /dev/shm would pass tensors through it and bypass the network.
"""

import json
import os
import signal
import subprocess
import time


class Skipped(Exception):
    """This machine does not allow what is needed."""


def run(*command, **options):
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def alone(core):
    """On one core, and before whatever else runs there: machines have no other work."""
    # Where the kernel shares out by session, a session has to be before the others, too.
    first = "[ ! -w /proc/self/autogroup ] || echo -15 >/proc/self/autogroup; exec \"$@\""
    return ["setsid", "--wait", "nice", "-n", "-15", "taskset", "-c", str(core), "sh", "-c", first, "sh"]


class Machine:
    """A namespace of network and mounts, held by a process that sleeps."""

    def __init__(self, name, core):
        self.name, self.core, self.addresses, self.children = name, core, {}, []
        hold = "mount -t tmpfs tmpfs /dev/shm && ip link set lo up && echo up && exec sleep infinity"
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", hold],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if self.holder.stdout.readline() != "up\n":
            raise Skipped(f"no namespaces: {self.holder.stdout.read().strip()}")

    def command(self, *command):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", *alone(self.core), *command]

    def run(self, *command, **options):
        return run(*self.command(*command), **options)

    def start(self, *command, log, **options):
        """A process that lives as long as the machine."""
        with open(log, "ab") as to:
            child = subprocess.Popen(self.command(*command), stdout=to, stderr=to,
                                     stdin=subprocess.DEVNULL, **options)
        self.children.append(child)
        return child

    def sent(self, interface):
        """Bytes that an interface has sent."""
        link = json.loads(self.run("ip", "-s", "-j", "link", "show", "dev", interface))
        return link[0]["stats64"]["tx"]["bytes"]

    def pids(self):
        """Processes in this machine's network, but for the holder."""
        mine = os.readlink(f"/proc/{self.holder.pid}/ns/net")
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/net") == mine:
                    found.append(int(entry))
            except OSError:
                continue
        return [p for p in found if p != self.holder.pid]

    def find(self, *words):
        """Processes of this machine whose command line has all these words."""
        found = []
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    line = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if all(any(w == l or (w.startswith("*") and l.endswith(w[1:])) for l in line) for w in words):
                found.append(pid)
        return found

    def clear(self):
        """Ends whatever runs here."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        for child in self.children:
            child.wait()
        self.children = []

    def end(self):
        self.clear()
        self.holder.kill()
        self.holder.wait()


def connect(a, b, network, rate):
    """A cable between two machines. What goes in at either end is limited to the rate (bit/s)."""
    ends = [(a, f"to-{b.name}"[:15], f"{network}.1"), (b, f"to-{a.name}"[:15], f"{network}.2")]
    try:
        run("ip", "link", "add", ends[0][1], "netns", str(a.holder.pid), "type", "veth",
            "peer", "name", ends[1][1], "netns", str(b.holder.pid))
    except (RuntimeError, FileNotFoundError) as e:
        raise Skipped(f"no virtual cable: {e}")
    for machine, name, address in ends:
        machine.run("ip", "address", "add", f"{address}/24", "dev", name)
        machine.run("ip", "link", "set", name, "up")
        # Segments as a real card sends them, or the limit counts what does not fit its bucket.
        subprocess.run(machine.command("ethtool", "-K", name, "tso", "off", "gso", "off"),
                       capture_output=True, check=False)
        try:
            machine.run("tc", "qdisc", "add", "dev", name, "root", "tbf", "rate", f"{rate}bit",
                        "burst", "64kb", "latency", "100ms")
        except RuntimeError as e:
            raise Skipped(f"no limit of rates: {e}")
        machine.addresses[name] = address


def wait(what, seconds, why):
    """Until it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        time.sleep(0.1)
    raise RuntimeError(f"{why} within {seconds} s")
