//! Debian packages: the files of `deploy/systemd/install.sh`, man pages, completions and the bill of materials.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::architecture::Architecture;
use crate::binaries::PackedBinary;
use crate::tools::{copy, files, run, source_date, write};

const MAINTAINER: &str = "MarketPrism <packages@marketprism.invalid>";

/// Packs one program from `folder`, which has everything else, into `out`.
pub fn pack(
    binary: &PackedBinary,
    architecture: Architecture,
    root: &Path,
    folder: &Path,
    out: &Path,
) -> anyhow::Result<()> {
    let part = binary.name.trim_start_matches("marketprism-");
    let tree = out.join(format!(".{}", binary.name));
    let mut install = Command::new(root.join("deploy/systemd/install.sh"));
    install
        .arg(part)
        .env("DESTDIR", &tree)
        .env("BIN", folder.join("bin"))
        .env("ADAPTERS", folder.join("adapters"));
    run(&mut install)?;
    documents(binary, root, folder, &tree)?;
    control(binary, architecture, part, &tree)?;
    let package = out.join(file_name(binary.name, architecture));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zgzip", "-z6", "--build"]).arg(&tree).arg(&package);
    run(build.env("SOURCE_DATE_EPOCH", source_date()))?;
    fs::remove_dir_all(&tree).with_context(|| tree.display().to_string())
}

fn file_name(program: &str, architecture: Architecture) -> String {
    format!("{program}_{}_{}.deb", env!("CARGO_PKG_VERSION"), architecture.debian())
}

fn documents(binary: &PackedBinary, root: &Path, folder: &Path, tree: &Path) -> anyhow::Result<()> {
    let (name, share) = (binary.name, tree.join("usr/share"));
    for page in files(&folder.join("share/man1"), "1")? {
        let file = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_own = file.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '-']));
        if is_own {
            let to = share.join("man/man1").join(&file);
            copy(&page, &to)?;
            run(Command::new("gzip").args(["-9", "-n"]).arg(&to))?;
        }
    }
    let completions = folder.join("share/completions");
    copy(&completions.join(format!("{name}.bash")), &share.join("bash-completion/completions").join(name))?;
    let (zsh, fish) = (format!("_{name}"), format!("{name}.fish"));
    copy(&completions.join(&zsh), &share.join("zsh/vendor-completions").join(&zsh))?;
    copy(&completions.join(&fish), &share.join("fish/vendor_completions.d").join(&fish))?;
    let own = share.join("doc").join(name);
    copy(&folder.join("sbom").join(format!("{name}.cdx.json")), &own.join("sbom.cdx.json"))?;
    copy(&root.join("LICENSE"), &own.join("copyright"))?;
    let date = run(Command::new("date").args(["-u", "-R", "-d"]).arg(format!("@{}", source_date())))?;
    let changes = own.join("changelog");
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "{name} ({version}) unstable; urgency=medium\n\n  * CHANGELOG.md of the archive lists the changes.\n\n -- {MAINTAINER}  {date}"
    );
    write(&changes, text)?;
    run(Command::new("gzip").args(["-9", "-n"]).arg(&changes)).map(drop)
}

fn control(binary: &PackedBinary, architecture: Architecture, part: &str, tree: &Path) -> anyhow::Result<()> {
    let kilobytes = run(Command::new("du").args(["-sk"]).arg(tree))?;
    let kilobytes = kilobytes.split_whitespace().next().unwrap_or("0");
    let debian = tree.join("DEBIAN");
    write(&debian.join("control"), control_file(binary, architecture, part, kilobytes))?;
    write(&debian.join("conffiles"), format!("/etc/marketprism/{part}.toml\n"))?;
    // systemctl disables no patterns.
    let units = match part {
        "edge" => "marketprism-edge.service",
        _ => {
            "marketprism-central@all.service marketprism-central@hot.service marketprism-central@cold.service"
        }
    };
    for (name, text) in [("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)] {
        script(&debian.join(name), &text.replace("PART", part).replace("UNITS", units))?;
    }
    Ok(())
}

fn control_file(binary: &PackedBinary, architecture: Architecture, part: &str, kilobytes: &str) -> String {
    let (major, minor) = binary.needs.glibc;
    let about = match part {
        "edge" => "collects market data of exchanges for NATS JetStream",
        _ => "stores market data in ClickHouse and proves it complete",
    };
    let gcc =
        if binary.needs.libraries.iter().any(|name| name == "libgcc_s.so.1") { ", libgcc-s1" } else { "" };
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\nSection: net\nPriority: optional\n\
         Installed-Size: {kilobytes}\nDepends: libc6 (>= {major}.{minor}){gcc}, {SYSTEMD_TOOLS}\nRecommends: ca-certificates\n\
         Description: {about}\n One of the two programs of MarketPrism, which stores each event of a market\n \
         once and says for every time window if it is complete. Its installation\n \
         starts nothing.\n",
        name = binary.name,
        version = env!("CARGO_PKG_VERSION"),
        architecture = architecture.debian(),
    )
}

fn script(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(|| path.display().to_string())
}

/// Packages with the programs of `POSTINST`.
const SYSTEMD_TOOLS: &str = "systemd | systemd-standalone-sysusers | systemd-sysusers, systemd | systemd-standalone-tmpfiles | systemd-tmpfiles";

/// A process that runs keeps its binary until the operator restarts it. A systemd that does not answer, as in a container with the host's
/// `/run/systemd`, leaves no package half-configured.
const POSTINST: &str = r#"#!/bin/sh
set -e
if [ "$1" = configure ]; then
    systemd-sysusers ${DPKG_ROOT:+--root="$DPKG_ROOT"} marketprism-PART.conf
    systemd-tmpfiles ${DPKG_ROOT:+--root="$DPKG_ROOT"} --create marketprism-PART.conf
    [ -n "$DPKG_ROOT" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload || true
fi
"#;

/// Links of enabled units go in a chroot too, where nothing can be stopped.
const PRERM: &str = r#"#!/bin/sh
set -e
if [ "$1" = remove ] && [ -z "$DPKG_ROOT" ] && command -v systemctl >/dev/null; then
    [ ! -d /run/systemd/system ] || systemctl stop UNITS || true
    systemctl disable UNITS || true
fi
"#;

/// Data in /var/lib/marketprism stays, after a purge too.
const POSTRM: &str = r#"#!/bin/sh
set -e
[ -n "$DPKG_ROOT" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload || true
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::BinaryNeeds;

    /// As systemd's bus in a container: each script ended with its error, and dpkg left the package half-configured.
    #[test]
    fn a_systemd_that_does_not_answer_fails_no_script() {
        let folder = tempfile::tempdir().unwrap();
        for (tool, status) in [("systemctl", 1), ("systemd-sysusers", 0), ("systemd-tmpfiles", 0)] {
            script(&folder.path().join(tool), &format!("#!/bin/sh\nexit {status}\n")).unwrap();
        }
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        // In a `/run` of its own that looks as if systemd ran.
        let enter = "mount -t tmpfs none /run && mkdir -p /run/systemd/system || exit 99; exec sh -c \"$0\" script \"$1\"";
        for (text, argument) in [(POSTINST, "configure"), (PRERM, "remove"), (POSTRM, "remove")] {
            let text = text.replace("UNITS", "marketprism-edge.service").replace("PART", "edge");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", enter, &text, argument]).env("PATH", &path);
            let ran = command.env("DPKG_ROOT", "").output();
            // Without root there is no mount.
            let is_failed = ran
                .as_ref()
                .is_ok_and(|ran| ran.status.code() == Some(1) && !ran.stderr.starts_with(b"unshare"));
            assert!(!is_failed, "{text}: {ran:?}");
        }
    }

    #[test]
    fn a_package_names_its_architecture_and_what_its_program_needs() {
        let needs =
            BinaryNeeds { libraries: vec!["libc.so.6".into(), "libgcc_s.so.1".into()], glibc: (2, 34) };
        let binary = PackedBinary { name: "marketprism-edge", bytes: 1, needs };
        let fields = |architecture: Architecture| {
            let text = control_file(&binary, architecture, "edge", "30000");
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
            (field("Architecture: "), field("Depends: "))
        };
        let (architecture, depends) = fields(Architecture::Arm64);
        assert_eq!(architecture, "arm64");
        assert!(depends.starts_with("libc6 (>= 2.34), libgcc-s1, systemd"), "{depends}");
        assert_eq!(fields(Architecture::Amd64).0, "amd64");
        let file = file_name(binary.name, Architecture::Arm64);
        assert_eq!(file, format!("marketprism-edge_{}_arm64.deb", env!("CARGO_PKG_VERSION")));
    }
}
