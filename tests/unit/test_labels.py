"""Who lives in a cgroup, from paths as systemd, container runtimes and Kubernetes make them."""

import pytest

from kmemtrace.cgroups.labels import label

ID = "4f2a9c1b03de" + "0123456789abcdef" * 3 + "abcd"
SHORT = "4f2a9c1b03de"
UID = "8a7f2c31-4c1e-4a77-9d0b-5a0c2f1e77aa"
UID_ = UID.replace("-", "_")
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice"
BEST = f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice"
STATIC = UID.replace("-", "")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", None),
        ("/a/b", None),
        ("/user.slice", None),
        ("/user.slice/user-1000.slice", None),
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/nginx.service/workers", "nginx.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/system.slice/dbus.socket", "dbus.socket"),
        (r"/system.slice/mnt-my\x2ddisk.mount", "mnt-my-disk.mount"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-77.scope",
            "app-firefox-77.scope",
        ),
        ("/init.scope", "init.scope"),
        (f"/system.slice/docker-{ID}.scope", f"docker {SHORT}"),
        (f"/system.slice/docker-{ID}.scope/init", f"docker {SHORT}"),
        (f"/docker/{ID}", f"docker {SHORT}"),
        (f"/docker/{ID}/system.slice/cron.service", f"docker {SHORT}"),
        (f"/system.slice/cri-containerd-{ID}.scope", f"containerd {SHORT}"),
        (f"/machine.slice/libpod-{ID}.scope", f"podman {SHORT}"),
        (f"/machine.slice/libpod-{ID}.scope/container", f"podman {SHORT}"),
        (f"/libpod_parent/libpod-{ID}", f"podman {SHORT}"),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
            f"podman {SHORT}",
        ),
        (f"{SLICE}", "pod 8a7f2c31"),
        (f"{SLICE}/cri-containerd-{ID}.scope", f"pod 8a7f2c31 containerd {SHORT}"),
        (f"{BEST}/crio-{ID}.scope", f"pod 8a7f2c31 cri-o {SHORT}"),
        (f"{BEST}/crio-{ID}", f"pod 8a7f2c31 cri-o {SHORT}"),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/docker-{ID}.scope", f"pod 8a7f2c31 docker {SHORT}"),
        (f"/kubepods/burstable/pod{UID}/{ID}", f"pod 8a7f2c31 container {SHORT}"),
        (f"/kubepods/besteffort/pod{UID}", "pod 8a7f2c31"),
        (f"/kubepods/pod{STATIC}/{ID}", f"pod 8a7f2c31 container {SHORT}"),
        (
            f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope",
            f"pod 8a7f2c31 containerd {SHORT}",
        ),
        (f"/docker/{ID}/kubepods/burstable/pod{UID}/{ID}", f"pod 8a7f2c31 container {SHORT}"),
        (f"/docker/{ID}/init", f"docker {SHORT}"),
        (f"/system.slice/docker-{ID}.scope/init/system.slice/docker-{ID}.scope", f"docker {SHORT}"),
        (f"/machine.slice/machine-web.scope/payload/system.slice/docker-{ID}.scope", f"docker {SHORT}"),
        (f"/lxc.payload.web/system.slice/docker-{ID}.scope", f"docker {SHORT}"),
        (f"/lxc/web/docker/{ID}", f"docker {SHORT}"),
        (f"/machine.slice/machine-libpod_pod_{ID}.slice/libpod-{ID}.scope", f"podman {SHORT}"),
        (f"/system.slice/web.service/libpod-payload-{ID}", f"podman {SHORT}"),
        (f"/libpod_parent/{ID}/libpod-{ID}", f"podman {SHORT}"),
        (f"/crio/crio-{ID}", f"cri-o {SHORT}"),
        (f"/ecs/9781c248-0edd-4cdb-9a93-f63cb662a5d3/{ID}", f"docker {SHORT}"),
        ("/lxc/web", "lxc web"),
        ("/lxc.payload.web/system.slice", "lxc web"),
        (f"/docker/{ID[:-1]}", None),
        ("/.service", None),
    ],
)
def test_label(path: str, expected: str | None) -> None:
    assert label(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/docker-{ID}.scope", f"docker-{ID}.scope"),
        (f"/lab/docker-{ID}.scope", f"docker-{ID}.scope"),
        (f"/lab/docker-{ID}.scope/init", f"docker-{ID}.scope"),
        (f"/system.slice/ci.service/docker-{ID}.scope", f"docker-{ID}.scope"),
        (f"/a.slice/b-c.slice/libpod-{ID}.scope", f"libpod-{ID}.scope"),
        (f"/lab/a.slice/cri-containerd-{ID}.scope", f"cri-containerd-{ID}.scope"),
        (f"/system.slice/ci.service/lab/libpod-payload-{ID}", "ci.service"),
        (f"/system.slice/ci.service/docker/{ID}", "ci.service"),
        (f"/lab/{ID}", None),
        (f"/lab/docker/{ID}", None),
        (f"/crio-{ID}", None),
        (f"/libpod-{ID}", None),
        (f"/kubepods-lab/pod{UID}", None),
        (f"/lab/kubepods/burstable/pod{UID}/{ID}", None),
        (f"/kubepods-burstable-pod{UID_}.slice/lab", None),
    ],
)
def test_a_name_alone_makes_no_container(path: str, expected: str | None) -> None:
    """Whoever may make a cgroup chooses its name; where runtimes make theirs he seldom may."""
    assert label(path) == expected
