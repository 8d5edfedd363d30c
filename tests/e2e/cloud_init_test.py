"""A user's own cloud-init documents beside ours: both happen."""
import subprocess

import noxsup_e2e
from noxsup_e2e import EndToEndTest, HOST_ARCH, guest_image

CREATE_SECONDS = 900
COMMAND_SECONDS = 180

USERS = """#cloud-config
users:
  - default
  - name: alice
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
write_files:
  - path: /etc/theirs
    content: "caf\\u00e9 {{ not a template }} # not a comment\\n"
    permissions: '0640'
runcmd:
  - [sh, -c, 'id -un alice > /run/theirs']
"""
SCRIPT = "#!/bin/sh\necho script > /run/script\n"


def crypt(password, stored):
    """crypt(3), which Python has no more."""
    return subprocess.run(["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, stored], check=True,
                          capture_output=True, text=True).stdout


class CloudInitDocuments(EndToEndTest):
    def setUp(self):
        super().setUp()
        image = guest_image(f"debian-13-{HOST_ARCH}")
        self.home.make_key()
        self.home.run("image", "import", str(image), "--name", f"debian-13-{HOST_ARCH}", "--os", "debian:13",
                      "--arch", HOST_ARCH, timeout=300)

    def test_their_documents_and_ours_both_happen(self):
        home = self.home
        users, script = home.root / "users.yaml", home.root / "script.sh"
        users.write_text(USERS)
        script.write_text(SCRIPT)
        created = home.run("--format", "json", "create", "ci1", "--os", "debian", "--ram", "512", "--disk", "5",
                           "--network", "user", "--boot", "firmware", "--cloud-init", str(users), "--cloud-init", str(script), "--password",
                           "--wait", "cloud-init", "--timeout", f"{CREATE_SECONDS}s", timeout=CREATE_SECONDS + 60).json

        def guest(command):
            return home.run("ssh", "ci1", "--", command, timeout=COMMAND_SECONDS).out

        self.assertIn("status: done", guest("cloud-init status || true"))
        behind = guest("systemctl show --property ActiveState --value noxsup-cloud-init.service").strip()
        self.assertEqual(behind, "inactive", "with documents of the user's the boot is theirs")
        self.assertEqual(guest("id -un alice; id -un nox"), "alice\nnox\n")
        self.assertEqual(guest("sudo cat /etc/theirs"), "caf\u00e9 {{ not a template }} # not a comment\n")
        self.assertEqual(guest("sudo stat -c %a /etc/theirs").strip(), "640")
        self.assertEqual(guest("cat /run/theirs /run/script"), "alice\nscript\n")
        self.assertEqual(guest("sudo -n id -u; hostname").split(), ["0", "ci1"])
        stored = guest("sudo getent shadow nox").split(":")[1]
        self.assertEqual(crypt(created["password"], stored), stored, "the password that was shown is the user's")
        self.assertEqual(guest("sudo passwd -S root").split()[1], "L", "nobody else got one")
        home.run("delete", "ci1", "--yes", timeout=COMMAND_SECONDS)

    def test_documents_that_would_break_the_login_are_refused(self):
        home = self.home
        for text in ("#cloud-config\n- a list\n", "#cloud-config\nssh_keys: {ed25519_private: x}\n",
                     "#cloud-config\nssh_deletekeys: true\n", "#cloud-config\nmerge_how: dict(replace)\n",
                     "#cloud-config\nusers: [unclosed\n"):
            with self.subTest(text=text):
                refused = home.run("create", "ci2", "--os", "debian", "--cloud-init", "-", stdin=text, exit=1)
                self.assertIn("cloud-init", refused.err)
                home.run("status", "ci2", exit=4)
                self.assertFalse((home.path / "vms/ci2").exists())


if __name__ == "__main__":
    noxsup_e2e.main()
